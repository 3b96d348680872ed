"""`trustbind apply`: bindings from files into IAM."""
