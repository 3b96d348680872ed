"""Why a workload does not get its role: a chain of checks, in causal order, over facts that were collected before.

`facts` has the bundle of facts, `chain` the order and the result, ``checks_*`` the checks. Everything is pure. What
could not be seen is unknown, and never counts as fine.
"""
