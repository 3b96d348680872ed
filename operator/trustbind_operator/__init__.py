"""The operator: makes roles accept the tokens that bindings ask for.

Reading order is data flow: ``trustbind_aws`` turns what is wanted (from the core's ``plan``) into calls of ``iam``, the
only module that talks to AWS.
"""
