"""The admission port: how many connections, how much of a request, for how long."""
