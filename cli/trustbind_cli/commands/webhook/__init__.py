"""The command ``trustbind webhook``."""
