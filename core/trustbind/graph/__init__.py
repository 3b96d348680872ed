"""The picture of who can assume which role: what is in it, where it is drawn, and in which form."""
