"""AWS's wire protocols: Query and REST JSON."""
