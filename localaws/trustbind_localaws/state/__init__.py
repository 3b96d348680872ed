"""Everything that the local AWS remembers."""
