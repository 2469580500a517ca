"""Rows of a file as people have it: JSON Lines, JSON, CSV or Parquet, plain or packed with gzip or Zstandard.

The kind is found by content, never by name. Rows come one by one: memory does not grow with the file. A row that cannot
be read is a row with a problem, not an error; a file that cannot be read raises ValidationFailure.
"""

from __future__ import annotations

import codecs
import csv
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.reading.jsontext import OURS, decoder, loads
from flywheel_jobs.sources.whole import table

CHUNK = 1 << 20
MAX_ROW = 64 << 20  # bytes of one row
BATCH = 256  # rows of a Parquet file that are in memory together
_MARKS = {  # how a text of another encoding begins; Windows writes no mark before UTF-16 that it pipes
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
_UNMARKED = (("utf-16-le", re.compile(rb"(?:[\t\n\r -~]\0){2}")), ("utf-16-be", re.compile(rb"(?:\0[\t\n\r -~]){2}")))
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_FOREIGN = {
    b"PK\x03\x04": "a zip archive: unpack it", b"BZh": "packed with bzip2: unpack it or use gzip",
    b"\xfd7zXZ": "packed with xz: unpack it or use gzip", b"ARROW1": "an Arrow file: write it as Parquet",
    b"\xff\xff\xff\xff": "an Arrow stream: write it as Parquet", b"\x04\x22M\x18": "packed with lz4: use gzip or zstd",
    b"Obj\x01": "an Avro file: write it as Parquet", b"ORC": "an ORC file: write it as Parquet",
    b"SQLite format 3": "an SQLite database: export a table as CSV", b"\x89HDF": "an HDF5 file: write it as Parquet",
    b"version https://git-lfs": "a pointer of Git LFS: upload the file that it stands for",
    b"\x80\x04": "a Python pickle: write it as JSON Lines", b"%PDF": "a PDF", b"<": "HTML or XML",
}  # fmt: skip
_DRAWN = {
    re.compile(rb"\s*\|[^\n]*\|[ \t\r]*\n[ \t]*\|[ :|-]+\|\s*\n"): "a table of Markdown: write it as CSV",
    re.compile(rb"[^\0]{1,100}\0.{156,256}ustar", re.DOTALL): "a tar archive: unpack it",
}
_BETWEEN = re.compile(r"[\s,\[\]]*")  # what separates the objects of a JSON text
_DELIMITERS = (",", "\t", ";", "|")


class EmptyFile(ValidationFailure):
    """A file without anything in it."""


@dataclass(frozen=True)
class Row:
    """One row of a file: a value, or what is wrong with it."""

    where: str
    """File and number of the row, from 1."""
    value: dict[str, Any] | None = None
    problem: str = ""
    text: str = ""
    """How a row without a value begins."""


def read(path: Path, name: str, columns: Collection[str] = ()) -> Iterator[Row]:
    """The rows of a local file that is called `name` in messages.

    Of a Parquet file only `columns` are read, unless it has none of them. Raises ValidationFailure.
    """
    try:
        head = _head(path)
        codec = next((codec for magic, codec in _PACKED.items() if head.startswith(magic)), None)
        if codec is None and head.startswith(b"PAR1"):
            yield from _parquet(path, name, columns)
        elif codec is None:
            with path.open("rb") as stream:
                yield from _text(_newlines(_plain(stream)), name)
        else:
            yield from _unpacked(path, name, codec, columns)
    except (OSError, pa.ArrowException, csv.Error, UnicodeError) as error:
        raise ValidationFailure(f"{name} is damaged: {error}"[:500]) from error


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(32)


def _unpacked(path: Path, name: str, codec: str, columns: Collection[str]) -> Iterator[Row]:
    with pa.CompressedInputStream(pa.OSFile(str(path)), codec) as stream:
        first = stream.read(32)
    with pa.CompressedInputStream(pa.OSFile(str(path)), codec) as stream:
        if first.startswith(tuple(_PACKED)):
            raise ValidationFailure(f"{name} is packed twice: unpack it once")
        if not first.startswith(b"PAR1"):
            yield from _text(_newlines(_plain(stream)), name)
            return
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".parquet") as whole:  # it is read from its end
            shutil.copyfileobj(stream, whole, CHUNK)
            whole.flush()
            yield from _parquet(Path(whole.name), name, columns)


def _parquet(path: Path, name: str, columns: Collection[str]) -> Iterator[Row]:
    # read in pieces: pages of a mapped file count as the pod's memory, and a whole column of a row group is one read
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=CHUNK) as file:
        wanted = [c for c in file.schema_arrow.names if c in columns or c.lower() in columns] or None
        number = 0
        for batch in file.iter_batches(batch_size=BATCH, columns=wanted, use_threads=False):
            for value in batch.to_pylist():
                number += 1
                where = f"{name} row {number}"
                try:  # Spark and others write texts as bytes
                    yield Row(where, {k: v.decode() if isinstance(v, bytes) else v for k, v in value.items()})
                except UnicodeDecodeError:
                    yield Row(where, problem="its bytes are no UTF-8", text=repr(value)[:500])


def _plain(stream: Any) -> Iterator[bytes]:
    """The bytes of a text in UTF-8, whatever its byte order mark says, in chunks."""
    chunk = stream.read(CHUNK)
    decoder = None
    encoding = next((name for mark, name in _MARKS.items() if chunk.startswith(mark)), "") or next(
        (name for name, begins in _UNMARKED if begins.match(chunk)), ""
    )
    if encoding:
        decoder = codecs.getincrementaldecoder(encoding)()
    elif chunk.startswith(codecs.BOM_UTF8):
        chunk = chunk[len(codecs.BOM_UTF8) :]
    while chunk:
        yield decoder.decode(chunk).encode() if decoder else chunk
        chunk = stream.read(CHUNK)


def _newlines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same, where lines end in `\\r` alone as on machines of long ago, with `\\n`."""
    held, old = b"", None
    for chunk in chunks:
        text, held = held + chunk, b""
        if old is None:
            old = False if b"\n" in text else True if b"\r" in text[:-1] else None
        if old is None and text.endswith(b"\r"):
            held = text
            continue
        yield text.replace(b"\r", b"\n") if old else text
    yield held


def _lines(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Lines, split at `\\n` only: U+2028 and its like belong to texts."""
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        first, *rest = chunk.split(b"\n")
        parts.append(first)
        size += len(first)
        if size > MAX_ROW:
            raise ValidationFailure(f"{name} has a row of more than {MAX_ROW >> 20} MiB: it is no file of rows")
        if rest:
            yield b"".join(parts)
            yield from rest[:-1]
            parts, size = [rest[-1]], len(rest[-1])
    if parts:
        yield b"".join(parts)


def _text(chunks: Iterator[bytes], name: str) -> Iterator[Row]:
    start = b""
    for chunk in chunks:
        start += chunk
        if len(start.lstrip()) > 4096:
            break
    shown = start.lstrip()
    if not shown:
        raise EmptyFile(f"{name} is empty")
    foreign = next((what for magic, what in _FOREIGN.items() if shown.startswith(magic)), None)
    foreign = foreign or next((what for begins, what in _DRAWN.items() if begins.match(start)), None)
    if foreign:
        raise ValidationFailure(f"{name} is {foreign}. Rows come as JSON Lines, JSON, CSV or Parquet")
    lines = shown[: 1 << 16].split(b"\n")
    everything = _from(start, chunks)
    if shown[:1] == b"[" or (shown[:1] == b"{" and lines[0].strip().endswith((b"{", b"[", b","))):
        yield from _unfolded(_documents(everything, name))
    elif any(line.lstrip().startswith(b"{") for line in lines[:5]):
        yield from _unfolded(_json_lines(everything, name))
    elif said := re.match(rb"sep=(.)\r?\n", shown):  # a line for Excel
        yield from _csv(_from(shown[said.end() :], chunks), name, said[1].decode())
    elif about := re.match(rb"(#[^,;|\t\n]*\n)+", shown):  # a title or a licence before the names
        yield from _csv(
            _from(shown[about.end() :], chunks), name, _delimiter(shown[about.end() :].split(b"\n")[0]) or ","
        )
    elif _delimiter(lines[0]):
        yield from _csv(everything, name, _delimiter(lines[0]))
    else:
        raise ValidationFailure(
            f"{name} begins with {shown[:40]!r}: that is no JSON Lines, JSON, CSV (with a line of names) or Parquet"
        )


def _from(start: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield start
    yield from rest


def _json_lines(chunks: Iterator[bytes], name: str) -> Iterator[Row]:
    number = 0
    for line in _lines(chunks, name):
        if not line.strip():
            continue
        number += 1
        where, text = f"{name} row {number}", line[:500].decode(errors="replace")
        try:
            yield _object(loads(line.decode(), OURS), where, text)
        except UnicodeDecodeError:
            yield Row(where, problem="its bytes are no UTF-8", text=text)
        except ValueError as error:
            yield Row(where, problem=f"is no JSON: {error}", text=text)


def _object(value: Any, where: str, text: str) -> Row:
    if isinstance(value, dict):
        return Row(where, value)
    return Row(where, problem=f"is a {type(value).__name__} where an object was expected", text=text)


def _unfolded(rows: Iterator[Row]) -> Iterator[Row]:
    """The same; an object that stands alone may be a whole table. Among others it is a row, whatever it holds."""
    first, second = next(rows, None), next(rows, None)
    inner = table(first.value) if first is not None and first.value is not None and second is None else None
    if first is not None and inner is not None:
        yield from (Row(f"{first.where} item {number}", _from_viewer(row)) for number, row in enumerate(inner, start=1))
        return
    yield from (row for row in (first, second) if row is not None)
    yield from rows


def _from_viewer(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the hub's viewer stands beside its number."""
    return row["row"] if "row_idx" in row and isinstance(row.get("row"), dict) else row


def _documents(chunks: Iterator[bytes], name: str) -> Iterator[Row]:
    """The objects of a JSON text: of a list, of one object, or one after the other; read as they come."""
    decode, reader = codecs.getincrementaldecoder("utf-8")(), decoder(OURS)
    text, at, number = "", 0, 0
    while True:
        match = _BETWEEN.match(text, at)
        at = match.end() if match else at
        try:
            value, end = reader.raw_decode(text, at)
            complete = end < len(text) or isinstance(value, dict)
        except (ValueError, RecursionError) as error:
            complete, problem = False, error
        if complete:
            number += 1
            yield _object(value, f"{name} row {number}", text[at : min(end, at + 500)])
            at = end
            continue
        more = next(chunks, None)
        text, at = text[at:] + decode.decode(more or b"", final=more is None), 0
        if more is None and not text.strip(" \t\r\n,[]"):
            return
        if more is None or len(text) > MAX_ROW:
            raise ValidationFailure(f"{name} is no JSON after row {number}: {problem}")


def _delimiter(header: bytes) -> str:
    """What separates the names in a CSV file's first line; also of a single name."""
    line = header.decode(errors="replace").strip()
    best = max(_DELIMITERS, key=line.count)
    if line.count(best):
        return best
    return "," if re.fullmatch(r"\"?[A-Za-z_][\w .-]{0,63}\"?", line) else ""


class _Lines:
    """Lines on their way into the reader of CSV, which takes the end of a file for the end of a quote.

    It asks for a line more than a row has only within a quote: what it makes of the end was open.
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        yield from self._lines
        self.ended = True


def _csv(chunks: Iterator[bytes], name: str, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(MAX_ROW)
    lines = _Lines(line.decode(errors="surrogateescape") + "\n" for line in _lines(chunks, name))
    table = csv.DictReader(lines, delimiter=delimiter, restkey="", skipinitialspace=True)
    for number, value in enumerate(table, start=1):
        if not any(v.strip() if isinstance(v, str) else v for v in value.values()):
            continue  # what a spreadsheet leaves below its last row
        where, text = f"{name} row {number}", delimiter.join(str(v) for v in value.values())[:500]
        if lines.ended:
            yield Row(where, problem='a quote (") that begins in it is never closed', text=text)
        elif "" in value and isinstance(value[""], list):
            yield Row(
                where, problem=f"has more than the {len(table.fieldnames or ())} fields of the first line", text=text
            )
        elif any("\udc80" <= c <= "\udcff" for v in value.values() for c in v or ""):
            yield Row(where, problem="its bytes are no UTF-8", text=text.encode(errors="replace").decode())
        else:
            yield Row(where, {k.strip(): v for k, v in value.items() if k is not None})
