"""``trustbind graph``: a picture of who can assume which role."""
