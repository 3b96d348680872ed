"""IAM, STS and EKS, and the authorization of their callers."""
