"""The error type of this package."""

from __future__ import annotations

from builder.errors import ToolError


class ClusterError(ToolError):
    """The local cluster cannot go on; the CLI prints the text without a traceback and exits with status 1."""
