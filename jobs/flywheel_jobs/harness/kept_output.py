"""What a process prints, in the store while it runs: it is there when the pod, and all of Ray's files, are gone.

An object of S3 cannot grow, so the log lies there in pieces: the last one is written again while it grows, a full one
stays. A piece that is lost must never end the work, and is said nowhere: that would be one more line to write.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from flywheel_jobs.core.logging import Redactor
from flywheel_jobs.storage.store import Store

PIECE = 1 << 20  # characters; what is written again every few seconds stays small
WRITE_SECONDS = 10.0
KEPT = 256  # pieces of an attempt: a program that prints without end fills no store
_OUTPUT_OF_POD = "/proc/1/fd/1"
KeyOf = Callable[[int], str]


class Pieces:
    """Lines under the keys that `key_of` names by number. Thread-safe; secrets are taken out before they are kept."""

    def __init__(self, store: Store, key_of: KeyOf) -> None:
        self._store, self._key_of = store, key_of
        self._redactor = Redactor(os.environ)
        self._lock = threading.Lock()
        self._lines, self._size = list[str](), 0
        self._full: list[str] = []
        self._number, self._dirty = 0, False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        """Begins to write, every few seconds."""
        self._thread.start()

    def stop(self) -> None:
        """Writes what is left."""
        self._stopped.set()
        self._thread.join(timeout=30)

    def add(self, lines: str) -> None:
        """Keeps whole lines."""
        with self._lock:
            self._lines.append(lines)
            self._size, self._dirty = self._size + len(lines), True
            if self._size >= PIECE:
                self._full.append("".join(self._lines))
                self._lines, self._size = [], 0

    def _run(self) -> None:
        while not self._stopped.wait(WRITE_SECONDS):
            self._write()
        self._write()

    def _write(self) -> None:
        with self._lock:
            full, rest, dirty = self._full, "".join(self._lines), self._dirty
            self._full, self._dirty = [], False
        if not dirty:
            return
        for piece in full:
            self._put(piece)
            self._number += 1
            if self._number >= KEPT:  # the first piece says how it began, the last ones how it ended
                with suppress(Exception):
                    self._store.delete(self._key_of(self._number - KEPT + 1))
        if rest:
            self._put(rest)

    def _put(self, piece: str) -> None:
        data = self._redactor.text(piece).encode(errors="replace")
        with suppress(Exception):
            self._store.put_bytes(self._key_of(self._number), data, "text/plain; charset=utf-8")


class Echo(io.TextIOBase):
    """A stream whose whole lines are also told to somebody else."""

    def __init__(self, stream: TextIO, tell: Callable[[str], None]) -> None:
        self._stream, self._tell = stream, tell
        self._begun = threading.local()  # `print` writes a line and its end apart, and several threads print

    def write(self, text: str) -> int:
        """See io."""
        written = self._stream.write(text)
        whole, end, rest = (getattr(self._begun, "line", "") + text).rpartition("\n")
        self._begun.line = rest
        if end:
            self._tell(whole + end)
        return written

    def flush(self) -> None:
        """See io."""
        self._stream.flush()

    def fileno(self) -> int:
        """See io."""
        return self._stream.fileno()


class KeptOutput:
    """Standard output and error of this process from now on. What comes before `into` is held back until then.

    `mirror`: whether lines go to the output of the pod's first process too, which `kubectl logs` shows: Ray puts what
    a job prints into a file of its own.
    """

    def __init__(self, mirror: bool = False) -> None:
        self._before: list[str] = []
        self._pieces: Pieces | None = None
        self._mirror = _output_of_pod() if mirror else None
        self._streams = (sys.stdout, sys.stderr)
        sys.stdout, sys.stderr = (Echo(stream, self._take) for stream in self._streams)

    def into(self, store: Store, key_of: KeyOf) -> None:
        """Says where the attempt's log belongs."""
        pieces = Pieces(store, key_of)
        pieces.add("".join(self._before))
        self._pieces = pieces
        pieces.start()

    def close(self) -> None:
        """Gives the streams back and writes the rest."""
        sys.stdout, sys.stderr = self._streams
        if self._pieces is not None:
            self._pieces.stop()
        if self._mirror is not None:
            mirror, self._mirror = self._mirror, None
            with suppress(OSError):
                mirror.close()

    def _take(self, lines: str) -> None:
        if self._pieces is None:
            self._before.append(lines)
        else:
            self._pieces.add(lines)
        if self._mirror is not None:
            with suppress(OSError):
                self._mirror.write(lines)
                self._mirror.flush()


def _output_of_pod() -> TextIO | None:
    try:
        return open(_OUTPUT_OF_POD, "w", errors="replace")
    except OSError:
        return None
