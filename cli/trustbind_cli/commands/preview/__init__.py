"""``trustbind preview``: what a pod would get, and what a trust policy would become, from files alone."""
