"""Files on their way up: in parts that fit, as many at once as the line carries, none sent twice without need.

A part that fails is sent again alone. Parts at once are of all files of a client together: fewer when each of them
crawls or the server is in trouble, more when they fly.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from xml.sax.saxutils import escape

from flywheel_api.conditions import Reason
from flywheel_store.checks import CRC32, Check, by_crc32, by_md5
from flywheel_store.connection import PIECE, Limits, patiently
from flywheel_store.errors import NO_S3, Refusal, StoreUnavailable
from flywheel_store.settings import StoreSettings
from flywheel_store.traffic import Moved
from flywheel_store.wire import Bytes, Wire, tag, text_of, xml

T = TypeVar("T")

PART_SIZE = 16 << 20  # larger parts gained nothing on loopback (measured)
MAX_PARTS = 10_000  # S3's
_ROUND = 1 << 20
_RESTARTS = 3  # times that an upload in parts is begun, when the server has lost the one before
_AHEAD = 8  # parts of one file that are read ahead of the lanes
_FIRST, _MOST = 4, 16
_MISMATCH = re.compile("Digest|Checksum")
_CRAWL, _FLY = 1 << 20, 4 << 20  # bytes a second of one part

log = logging.getLogger(__name__)


def part_size(size: int) -> int:
    """Bytes of a part of a file of that size: 16 MiB up to 156 GiB, then as much more as S3's limit asks."""
    return max(PART_SIZE, -(-size // MAX_PARTS // _ROUND) * _ROUND if size > PART_SIZE * MAX_PARTS else 0)


class Window:
    """A part of a file as a body. What of it had travelled before counts no more when it is sent again."""

    def __init__(self, path: Path, start: int, size: int, moved: Moved, check: Check = by_md5) -> None:
        self.size = size
        self.reached = 0
        """The farthest byte that any try has sent."""
        self._path, self._start, self._moved = path, start, moved
        self.sha256 = ""  # the signature holds the check, which servers compare; a second digest costs time
        self.check = check(self._pieces(_ROUND))

    def _pieces(self, length: int) -> Iterator[bytes]:
        left = self.size
        with self._path.open("rb") as file:
            file.seek(self._start)
            while left and (piece := file.read(min(length, left))):
                left -= len(piece)
                yield piece

    def __iter__(self) -> Iterator[bytes]:
        at = 0
        for piece in self._pieces(PIECE):
            yield piece  # is sent when the next one is asked for
            at += len(piece)
            if at > self.reached:
                self._moved(at - self.reached)
                self.reached = at


class Lanes:
    """How many parts travel at once."""

    def __init__(self) -> None:
        self.width = _FIRST
        self._busy, self._changed = 0, 0.0
        self._free = threading.Condition()

    @contextmanager
    def one(self, size: int) -> Iterator[None]:
        """A place for a part of that size; what it meets decides about those that follow."""
        with self._free:
            self._free.wait_for(lambda: self._busy < self.width)
            self._busy += 1
        began, rate = time.monotonic(), 0.0
        try:
            yield
            rate = size / max(time.monotonic() - began, 1e-6)
        finally:
            with self._free:
                self._busy -= 1
                self._adapt(began, rate, size)
                self._free.notify_all()

    def _adapt(self, began: float, rate: float, size: int) -> None:
        # parts that began before the last change say nothing about it
        if rate < _CRAWL and (not rate or size >= _CRAWL):
            if began > self._changed:
                self.width, self._changed = max(1, self.width // 2), time.monotonic()
        elif rate > _FLY:
            self.width = min(_MOST, self.width + 1)


class Uploads:
    """Uploads to one bucket. Safe to use from several threads."""

    def __init__(self, wire: Wire, settings: StoreSettings, limits: Limits, moved: Moved) -> None:
        self._wire, self._settings, self._limits, self._moved = wire, settings, limits, moved
        self._lanes = Lanes()
        self._crc: bool | None = None  # whether the server compares CRC32; None: nobody has asked yet

    def send(self, key: str, path: Path, size_there: Callable[[], int | None]) -> None:
        """Uploads a file to a whole key. `size_there` asks the store what stands there. Raises StoreProblem."""
        size, at = path.stat().st_size, (self._settings.bucket, key)
        if size <= PART_SIZE:
            body = Window(path, 0, size, self._moved)
            self._part(f"upload of {path.name}", body, lambda: self._wire.put(at, body, {}))
            return
        for _ in range(_RESTARTS):
            self._in_parts(at, path, size)
            # an answer to the last request may carry an error in a 200, or be lost
            if size_there() == size:
                return
        text = f"the store at {self._settings.where} loses uploads before they are whole"
        raise StoreUnavailable(text, Reason.STORE_BUSY)

    def _in_parts(self, at: tuple[str, str], path: Path, size: int) -> None:
        """Returns, too, when the server knows the upload no longer: finished, or cleaned away, only a look can tell."""
        step = part_size(size)
        what = f"upload of {path.name}"
        upload, crc = self._call(what, lambda: self._begin(at))
        check = by_crc32 if crc else by_md5

        def part(number: int) -> str:
            start = (number - 1) * step
            body = Window(path, start, min(step, size - start), self._moved, check)
            query = {"partNumber": str(number), "uploadId": upload}
            etag = self._part(f"part {number} of {path.name}", body, lambda: self._wire.put(at, body, {}, query))
            return _listed(number, etag, body.check)

        pool = ThreadPoolExecutor(max_workers=_AHEAD)
        try:
            parts = "".join(pool.map(part, range(1, -(-size // step) + 1)))
            self._call(f"end of {path.name}", lambda: self._finish(at, upload, parts))
        except _UploadGone:
            log.warning("the server knows the upload of %s no longer", path.name)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            self._abort(at, upload)
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _part(self, what: str, body: Window, send: Callable[[], T]) -> T:
        def once() -> T:
            with self._lanes.one(body.size):
                return _known(send)

        return self._call(what, once, lambda: body.reached)

    def _begin(self, at: tuple[str, str]) -> tuple[str, bool]:
        """An upload, and whether its parts go with CRC32: only where the server has told wrong from right by it."""
        if self._crc is not False:
            upload, _ = _taken(lambda: self._create(at, {"x-amz-checksum-algorithm": "CRC32"}))
            if upload:
                try:
                    self._crc = self._crc or self._compares(at, upload)
                finally:
                    if not self._crc:
                        self._abort(at, upload)
                if self._crc:
                    return upload, True
        upload = self._create(at, {})
        self._crc = False
        return upload, False

    def _create(self, at: tuple[str, str], headers: Mapping[str, str]) -> str:
        upload = text_of(xml(self._wire.send("POST", *at, {"uploads": ""}, headers).data), "UploadId")
        if not upload:
            raise Refusal("POST", 200, NO_S3)
        return upload

    def _compares(self, at: tuple[str, str], upload: str) -> bool:
        """Whether the server takes a part with its own CRC32, which the real part 1 replaces, and none with another's.

        One that refuses for another reason than the checksum has not compared it.
        """

        def put(said: bytes) -> tuple[str, str]:
            body = Bytes(b"right")
            body.check = by_crc32((said,))
            return _taken(lambda: self._wire.put(at, body, {}, {"partNumber": "1", "uploadId": upload}))

        _, no = put(b"wrong")
        return bool(_MISMATCH.search(no)) and bool(put(b"right")[0])

    def _finish(self, at: tuple[str, str], upload: str, parts: str) -> None:
        body = Bytes(f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode())
        answer = _known(lambda: self._wire.send("POST", *at, {"uploadId": upload}, body=body))
        if tag(xml(answer.data)) != "CompleteMultipartUploadResult":
            raise Refusal("POST", 200, NO_S3)

    def _abort(self, at: tuple[str, str], upload: str) -> None:
        try:
            self._wire.send("DELETE", *at, {"uploadId": upload})
        except Exception as error:
            log.debug("an upload was not aborted: %s", type(error).__name__)

    def _call(self, what: str, work: Callable[[], T], reached: Callable[[], int] = lambda: 0) -> T:
        return patiently(what, work, self._settings, self._limits, reached)


def _listed(number: int, etag: str, check: Mapping[str, str]) -> str:
    """A part as the end of its upload names it, with the checksum where it went with one: S3 asks for it then."""
    crc = f"<ChecksumCRC32>{check[CRC32]}</ChecksumCRC32>" if CRC32 in check else ""
    return f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag>{crc}</Part>"


class _UploadGone(Exception):
    """The server knows the upload no longer."""


def _taken(send: Callable[[], str]) -> tuple[str, str]:
    """What a request gives, or the code with which a server refuses what it does not know or agree to."""
    try:
        return send(), ""
    except Refusal as answer:
        if answer.status not in (400, 501):
            raise
        return "", answer.code


def _known(send: Callable[[], T]) -> T:
    try:
        return send()
    except Refusal as answer:
        if answer.code == "NoSuchUpload":
            raise _UploadGone from answer
        raise
