"""Decision and failures of one RoleBinding."""
