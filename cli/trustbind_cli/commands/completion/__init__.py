"""The command ``trustbind completion``."""
