"""``trustbind import``: what trust policies give to this cluster already, as objects of trustbind."""
