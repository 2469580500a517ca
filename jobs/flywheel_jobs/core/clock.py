"""The time of day, as records say it."""

from __future__ import annotations

from datetime import UTC, datetime

from flywheel_api.base import format_time


def now() -> str:
    """The current time, RFC 3339 in UTC."""
    return format_time(datetime.now(UTC))
