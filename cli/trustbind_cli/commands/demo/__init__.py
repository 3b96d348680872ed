"""The command ``trustbind demo``."""
