"""RoleBindings for annotated service accounts."""
