"""Names of principals: ARNs, token issuers, subjects, session names."""
