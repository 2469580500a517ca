"""The closed set of errors that ports raise. Only the executor and the observer catch them."""

from __future__ import annotations


class PortError(Exception):
    """Base of everything a port raises."""


class Retryable(PortError):
    """The other side is away or asks for patience; `after` is its own wish in seconds, if it named one."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class Conflict(PortError):
    """The object changed or exists already: read again, decide again."""


class NotFound(PortError):
    """No such object, or no such resource type in this cluster."""


class Forbidden(PortError):
    """RBAC or the store's policy refuses; a person must act."""


class Terminal(PortError):
    """The request is wrong and would fail again; the message is the other side's."""
