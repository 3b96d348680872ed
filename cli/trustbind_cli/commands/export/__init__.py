"""``trustbind export``: trust policies for leaving, without trustbind's statements."""
