"""Validation of custom resources at admission."""
