"""Moving in: what trust policies that others wrote already give to this cluster, as bindings, grants and AWSAccounts.

Reading order is data flow: ``findings`` (what is said to the user), ``conditions`` and ``trust_reader`` (one trust
policy into admissions), ``service_accounts`` (what annotations say), ``profiles`` (one profile for each role of a
service account), ``manifests`` (the objects), ``importing`` (all of it).
"""
