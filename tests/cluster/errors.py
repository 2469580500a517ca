"""The one error type of this package: its text is for a person and says what to do next."""

from __future__ import annotations


class ClusterError(RuntimeError):
    """Something a person can act on; the CLI prints it without a traceback and exits with status 1."""
