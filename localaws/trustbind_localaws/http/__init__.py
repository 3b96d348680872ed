"""The HTTP server, its dispatcher and the control API."""
