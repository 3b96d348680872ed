"""``trustbind sweep``: what trustbind wrote in AWS and nothing wants any more is removed."""
