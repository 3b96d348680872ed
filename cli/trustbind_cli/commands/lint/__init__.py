"""``trustbind lint``: faults and risks of trust policies and of our objects."""
