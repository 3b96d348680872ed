"""IAM policy documents: what a trust policy is, which statements a cluster owns in it, and what has to be written."""
