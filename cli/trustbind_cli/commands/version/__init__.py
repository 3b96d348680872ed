"""The command ``trustbind version``."""
