"""Certificates that the webhook makes itself.

What the Secret holds is a `material.Material`; `planning` decides from values alone what is to be made; `issuing` makes
it; `keeper` is the only place that talks to Kubernetes.
"""
