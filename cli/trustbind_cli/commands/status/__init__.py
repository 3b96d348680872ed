"""The command ``trustbind status``."""
