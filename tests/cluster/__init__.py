"""A real Kubernetes for tests and the demo, built from pinned Go modules: no Docker, no registry.

Two sizes: `cluster.apiserver` (etcd + kube-apiserver on loopback, no root) and the one-node cluster of
`python3 -m cluster up` (root, namespaces of its own). Standard library only. See README.md beside this file.
"""
