"""Scheduling gates and missed pods."""
