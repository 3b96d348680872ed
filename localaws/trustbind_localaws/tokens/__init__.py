"""Issuers' keys and service-account tokens."""
