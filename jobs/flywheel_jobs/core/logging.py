"""JSON logs on standard error, one object a line, with secrets taken out (law 9)."""

from __future__ import annotations

import base64
import html
import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Mapping
from urllib.parse import quote, quote_plus

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from flywheel_api.base import KEY_IN_QUERY

_SECRET_NAME = re.compile(r"(SECRET|PASSWORD|TOKEN|CREDENTIAL|ACCESS_KEY|API_KEY|_KEY$|_KEY_)", re.IGNORECASE)
_SIGNED = re.compile(r"((?:X-Amz-)?(?:Signature|Credential|Security-Token)=)[^&,\s\"']+", re.IGNORECASE)
_USERINFO = re.compile(r"(https?://)[^/\s@]+@")
_KEY_IN_URL = re.compile(rf"({KEY_IN_QUERY})[^&\s\"'#]+", re.IGNORECASE)
_LONG, _HEAD = 20, 12  # of a long secret the first characters are enough to know it by: texts are cut elsewhere
_MIN_SECRET = 6  # shorter values would blank ordinary words
REDACTED = "[redacted]"
_FRAMES, _MOST = 12, 4_000  # of a traceback: where it broke stands at its end


class Redactor:
    """Removes the values of secret-looking environment variables, and keys in URLs, from any text.

    A secret is known in every form in which others write it (JSON with and without `\\/`, repr, URL), with and without
    the white space around it, and, if it is long, by its beginning: a server may have cut its own words.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        values = {v for k, v in environ.items() if _SECRET_NAME.search(k) and len(v.strip()) >= _MIN_SECRET}
        forms = {form for value in values for form in _forms(value)}
        heads = {form[:_HEAD] for form in forms if len(form) >= _LONG}
        whole = [re.escape(form) for form in sorted(forms, key=len, reverse=True)]
        begun = [re.escape(head) + r"[^\s\"'<>&,;}]*" for head in sorted(heads)]
        self._secrets = re.compile("|".join([*whole, *begun])) if forms else None

    def text(self, value: str) -> str:
        """The text without any secret."""
        if self._secrets is not None:
            value = self._secrets.sub(REDACTED, value)
        for pattern in (_SIGNED, _KEY_IN_URL):
            value = pattern.sub(rf"\1{REDACTED}", value)
        return _USERINFO.sub(rf"\1{REDACTED}@", value)

    def value(self, value: object) -> object:
        """The same for nested values."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {k: REDACTED if _named_secret(k) else self.value(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(v) for v in value]
        if isinstance(value, BaseException):
            return self.text(f"{type(value).__name__}: {value}")
        return value

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """A structlog processor."""
        for key, value in event.items():
            event[key] = REDACTED if _named_secret(key) else self.value(value)
        return event


def _forms(value: str) -> set[str]:
    found = set()
    for one in (value, value.strip()):
        in_json = json.dumps(one)[1:-1]
        found |= {one, in_json, in_json.replace("/", "\\/"), json.dumps(one, ensure_ascii=False)[1:-1]}
        found |= {repr(one)[1:-1], repr(one.encode())[2:-1]}
        found |= {quote(one), quote(one, safe=""), quote_plus(one), base64.b64encode(one.encode()).decode()}
    # what a gateway passes on of another's words is escaped once more
    found |= {json.dumps(form)[1:-1] for form in found} | {html.escape(form) for form in found}
    return found | {re.sub("%[0-9A-F]{2}", lambda code: code[0].lower(), form) for form in found}


def _named_secret(key: object) -> bool:
    lowered = str(key).lower()
    return lowered.endswith(("api_key", "secret_key", "secretkey", "apikey", "password", "authorization"))


def redact(text: str) -> str:
    """Text as it may be written to the store or the termination log."""
    return Redactor(os.environ).text(text)


def traced(error: BaseException) -> str:
    """A traceback as it may be shown anywhere: its last frames, no values of variables, not long, no secrets.

    A renderer of the log's own may print all locals: in a stage's item those are whole worlds.
    """
    text = redact("".join(traceback.format_exception(error, limit=-_FRAMES)))
    return text if len(text) <= _MOST else f"{text[: _MOST // 2]}\n[...]\n{text[-_MOST // 2 :]}"


def configure(**context: object) -> None:
    """Sets up structlog and the standard library's logging; `context` is bound to every line of this process."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = [
        structlog.processors.ExceptionRenderer(lambda info: traced(info[1])),
        Redactor(os.environ),
        structlog.processors.JSONRenderer(),
    ]
    chosen = getattr(logging, os.environ.get("FLYWHEEL_LOG_LEVEL", "INFO").upper(), logging.INFO)
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(chosen),
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
        cache_logger_on_first_use=False,  # standard error may be replaced after a module made its logger
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    # urllib3 and aiohttp write whole URLs at lower levels
    logging.basicConfig(level=max(chosen, logging.WARNING), handlers=[handler], force=True)
    structlog.contextvars.bind_contextvars(**context)


def get_logger(name: str) -> FilteringBoundLogger:
    """A bound logger."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger
