"""Builds Flywheel's container images without a registry. Standard library only; used by `make images`."""
