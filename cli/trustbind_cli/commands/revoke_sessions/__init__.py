"""``trustbind revoke-sessions``: credentials of a role that were given out before now are refused."""
