"""What ``trustbind lint`` finds besides the rules about trust policies: in documents, and between objects.

``kinds`` is the table, ``documents`` looks at one trust policy, ``objects`` at RoleBindings, RoleGrants and annotated
service accounts. To add a finding, add a kind and a function, and its cases to tests/data/lint; then run
``make generate``.
"""
