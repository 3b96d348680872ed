"""What IAM checks of policies."""
