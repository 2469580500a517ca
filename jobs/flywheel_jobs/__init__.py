"""What runs in Flywheel's pods: one entry point per stage, reading and writing only manifests in S3.

The package knows S3 and OpenAI-compatible endpoints. It knows neither Kubernetes nor the operator, and its core
(everything outside `trainer` and `rollout`) holds no torch.
"""

from importlib import metadata

try:
    __version__ = metadata.version("flywheel")
except metadata.PackageNotFoundError:  # run from a source tree
    __version__ = "0.0.0+source"
