"""``trustbind apply``: the bindings of files into IAM, by the operator's pipeline and without a cluster."""
