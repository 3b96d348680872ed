"""The files that a user names, as values, and what they decide."""
