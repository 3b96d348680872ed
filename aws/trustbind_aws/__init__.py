"""Everything that calls AWS: clients, sessions, call budgets, and one sub-reconciler for each kind of resource."""
