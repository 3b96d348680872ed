"""The command ``trustbind doctor``."""
