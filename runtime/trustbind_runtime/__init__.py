"""What both halves need in order to run, and neither decides: settings, logs, the API server, scrapes and probes."""
