"""Flywheel's API: the three custom resources, the records and manifests in the store, and the names that join them.

This package is the single source of the CRDs, of the generated reference and of every name, key and environment
variable that the operator and the jobs agree on. It knows nothing of Kubernetes clients, of torch, or of how anything
is run.
"""

__version__ = "0.1.0"  # the release: pyproject.toml reads it here, charts/flywheel/Chart.yaml repeats it

GROUP = "flywheel.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

__all__ = ["API_VERSION", "GROUP", "VERSION"]
