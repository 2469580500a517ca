"""The demo's error type."""

from __future__ import annotations

from builder.errors import ToolError


class DemoError(ToolError):
    """The demo cannot go on; the text says what happened and what to do next."""
