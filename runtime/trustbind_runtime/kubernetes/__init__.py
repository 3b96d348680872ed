"""The Kubernetes API server: a client and an informer."""
