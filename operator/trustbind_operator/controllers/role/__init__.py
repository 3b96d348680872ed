"""The trust of one IAM role."""
