"""The pipeline of one role as values: snapshot, decision, observation, plan, result.

Pure, and the same for the operator and for ``trustbind apply``. Reading order is data flow: ``stored_binding`` and
``snapshot`` hold what Kubernetes (or a set of files) says, ``decision`` says what each binding may have, ``rollout``
orders the two roles of a chain, ``observation`` holds what AWS says, ``role_plan`` lists the steps, ``outcome`` says
for each binding what was reached.
"""
