"""kopf's handlers, and the router that turns events into work."""
