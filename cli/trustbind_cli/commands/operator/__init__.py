"""The command ``trustbind operator``."""
