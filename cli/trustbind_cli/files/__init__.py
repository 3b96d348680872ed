"""What the user's files hold, as values: the objects, snapshots of them for the pipeline, and what is missing."""
