"""Canonical JSON and sha256 digests: one value has one form, so that digests can be compared."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Sorted keys, no spaces, UTF-8. Raises ValueError for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(data: bytes) -> str:
    """`sha256:<hex>`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def hex_of(digest: str) -> str:
    """The hex part of `sha256:<hex>`. Raises ValueError for anything else."""
    head, _, tail = digest.partition(":")
    if head != "sha256" or len(tail) != 64 or not all(c in "0123456789abcdef" for c in tail):
        raise ValueError(f"{digest!r} is not a sha256 digest")
    return tail
