"""The two outside worlds, Kubernetes and the object store, each a small protocol with a real client and a fake."""
