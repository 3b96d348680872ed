"""EKS Pod Identity associations."""
