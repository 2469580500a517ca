"""The demo's one error type."""

from __future__ import annotations


class DemoError(RuntimeError):
    """Something a person can act on: the text says what happened and what to do next."""
