"""RoleBindings of RoleBindingSets."""
