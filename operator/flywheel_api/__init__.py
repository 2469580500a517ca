"""Flywheel's API: the three custom resources, the records and manifests in the store, and the names that join them.

This package is the single source of the CRDs, of the generated reference and of every name, key and environment
variable that the operator and the jobs agree on. It knows nothing of Kubernetes clients, of torch, or of how anything
is run.
"""

GROUP = "flywheel.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

__all__ = ["API_VERSION", "GROUP", "VERSION"]
