"""JSON logs with redaction: anything that looks like a credential is cut out before a line is written."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from flywheel_api.base import KEY_IN_QUERY

_SECRET_NAMES = re.compile(r"(?i)(secret|password|token|access[_-]?key|authorization|api[_-]?key|credential)")
_PATTERNS = (
    re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]+"),
    re.compile(rf"(?i)({KEY_IN_QUERY})[^&\s\"']+"),
    re.compile(r"(?i)((?:x-amz-)?(?:signature|credential|security-token)=)[^&,\s'\"]+"),
    re.compile(r"(?i)\b(secret_?key|access_?key|password|token|api_?key)(\s*[=:]\s*)['\"]?[^\s'\",}]+"),
    re.compile(r"://[^/\s:@]+:[^/\s@]+@"),
)
_LINE_LIMIT = 4000


def redact(text: str) -> str:
    """`text` without credentials."""
    for pattern in _PATTERNS:
        text = pattern.sub(lambda m: "://***@" if m.group(0).startswith("://") else f"{m.group(1)}***", text)
    return text[:_LINE_LIMIT]


def _redact_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in list(event.items()):
        if isinstance(value, str):
            harmless = name in ("event", "key", "secret_name")
            event[name] = "***" if _SECRET_NAMES.search(name) and not harmless else redact(value)
    return event


def configure(level: str = "INFO") -> None:
    """structlog and the standard library's loggers (kopf, aiohttp) as one JSON stream on stderr."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redact_event,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    renderer: list[Any] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.JSONRenderer(),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=renderer))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLevelName(level)))
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def get_logger(name: str) -> Any:
    """A structured logger."""
    return structlog.stdlib.get_logger(name)
