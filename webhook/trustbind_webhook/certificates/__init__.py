"""Certificates that the webhook makes itself.

The Secret holds a `bundle.Material`; `rotation_plan` decides from values alone what has to be issued; `signer` issues
it; `rotator` is the only module that calls Kubernetes.
"""
