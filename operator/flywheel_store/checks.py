"""The headers by which a server knows that what arrived is what was sent."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping

CRC32 = "x-amz-checksum-crc32"
Check = Callable[[Iterable[bytes]], Mapping[str, str]]
"""Makes the header of a body, which it is given in pieces."""


def by_md5(pieces: Iterable[bytes]) -> Mapping[str, str]:
    """What every server compares."""
    md5 = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        md5.update(piece)
    return {"Content-MD5": base64.b64encode(md5.digest()).decode()}


def by_crc32(pieces: Iterable[bytes]) -> Mapping[str, str]:
    """What many servers compare, in a fourth of the time that MD5 takes."""
    crc = 0
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    return {CRC32: base64.b64encode(crc.to_bytes(4, "big")).decode()}
