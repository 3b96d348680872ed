"""Plain HTTP: listening sockets, metrics and probes."""
