"""AWSAccount objects."""
