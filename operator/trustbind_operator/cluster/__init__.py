"""The operator's view of the cluster: cache, informers, conditions, writes."""
