"""``trustbind who-can``: who can assume a role, and which roles a service account can assume."""
