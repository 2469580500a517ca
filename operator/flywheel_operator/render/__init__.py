"""Models to Kubernetes objects: pure functions, no client, no clock."""
