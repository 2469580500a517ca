"""What a user brings: records from a file or a prefix of files, or from a data set of the store.

A wrong row is set aside with its number and what is wrong, and counted; too many end the stage. Nothing is lost by its
id: rows without one get an id made of their content, and where an id repeats, the later ones get another.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from flywheel_api.records.reasoning import Persona, Problem, QuarantinedRow
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.sources import shapes
from flywheel_jobs.sources.rows import EmptyFile, Row, read
from flywheel_store.store import BlobStore

R = TypeVar("R", Problem, Persona)
MAX_WRONG = 0.05  # of a source's rows
EARLY = 200  # wrong rows after which a source that is mostly wrong is not read to its end
KEPT = 1000  # wrong rows that are kept to be looked at
SHAPES: Mapping[type, Callable[[Mapping[str, Any], Mapping[str, str]], dict[str, Any]]] = {
    Problem: shapes.problem, Persona: shapes.persona
}  # fmt: skip
_ASIDE = (".", "_", "README", "LICENSE", "LICENCE", "SHA", "MD5", "dataset_info", "state.json")
"""How names of files below a prefix begin that hold no rows."""
_ABOUT = ("/", ".crc", ".md", ".md5", ".sha256", ".yaml", ".yml", ".py")


@dataclass
class Source(Generic[R]):
    """The records of a source, and what became of its other rows."""

    ref: str
    records: list[R] = field(default_factory=list)
    rows: int = 0
    repeated: int = 0
    """Rows that say what an earlier one says."""
    left_out: int = 0
    """Rows beyond the number that was asked for."""
    renamed: int = 0
    """Records whose id an earlier one with another content has."""
    wrong: int = 0
    unusable: int = 0
    """Rows that are right, and of no use to whom they are for."""
    quarantine: list[QuarantinedRow] = field(default_factory=list)
    columns: str = ""

    def set_aside(self, row: Row, problem: str, wrong: bool = True) -> None:
        """Counts a row that is wrong, or else unusable, and keeps it to be looked at."""
        self.wrong += wrong
        self.unusable += not wrong
        if len(self.quarantine) < KEPT:
            text = (row.text or repr(row.value))[:500].encode(errors="replace").decode()
            where = f"{self.ref}: {row.where}"
            self.quarantine.append(
                QuarantinedRow(
                    id=f"row-{len(self.quarantine)}", source=self.ref, where=where, problem=problem, text=text
                )
            )

    def check(self, fields_name: str) -> None:
        """Raises ValidationFailure when too many rows are wrong, with the first of them, or when none is left."""
        if self.wrong > MAX_WRONG * self.rows:
            some = "; ".join(f"{q.where.rpartition('/')[2]}: {q.problem}" for q in self.quarantine[:3])
            raise ValidationFailure(
                f"{self.wrong} of {self.rows} rows of {self.ref} are wrong, more than {MAX_WRONG:.0%}. {some}. "
                f"Its columns are {self.columns or 'unknown'}; name those to take in {fields_name}"[:900],
                reason="TooManyWrongRows",
            )
        if not self.records:
            some = f" that can be used: {self.quarantine[0].problem}" if self.quarantine else ""
            raise ValidationFailure(f"{self.ref} holds no records{some}")


def load(
    store: BlobStore,
    ref: str,
    kind: type[R],
    fields_name: str,
    fields: Mapping[str, str] | None = None,
    limit: int | None = None,
    sample: str | None = None,
    refine: Callable[[R], tuple[R, str]] = lambda record: (record, ""),
    progress: Callable[[int], None] = lambda _: None,
) -> Source[R]:
    """The records of `sha256:` of a data set, of an `s3://` object, or of all objects below an `s3://` prefix.

    At most `limit` of them: the first, or with `sample` those that this text and their contents draw, whatever their
    order. Memory is for these only. `refine` gives a record its last form, or says why it cannot be used. Raises
    ValidationFailure.
    """
    source = Source[R](ref)
    chosen: dict[str, tuple[int, R]] = {}
    lots: list[tuple[int, str]] = []  # a heap: the record with the largest lot, negated, is the next to go
    for row in _rows(store, ref, {p.partition(".")[0] for p in (fields or {}).values()}):
        source.rows += 1
        if source.rows % 20_000 == 0:
            progress(source.rows)
        record = _record(source, row, kind, fields or {})
        if record is not None:
            record, useless = refine(record)
            if useless:
                source.set_aside(row, useless, wrong=False)
                continue
        if record is None:
            if source.wrong >= EARLY and source.wrong > source.rows / 2:
                break
            continue
        content = record.content
        if content in chosen:
            source.repeated += 1
            continue
        chosen[content] = (source.rows, record)
        if limit is None:
            continue
        if sample is None:
            if len(chosen) == limit:
                break
            continue
        heapq.heappush(lots, (-_lot(sample, content), content))
        if len(chosen) > limit:
            del chosen[heapq.heappop(lots)[1]]
            source.left_out += 1
    source.records = _named(source, [record for _, record in sorted(chosen.values(), key=lambda pair: pair[0])])
    source.check(fields_name)
    return source


def _lot(sample: str, content: str) -> int:
    return int.from_bytes(blake2b(f"{sample}/{content}".encode(), digest_size=8).digest(), "big")


def _record(source: Source[R], row: Row, kind: type[R], fields: Mapping[str, str]) -> R | None:
    if row.value is None:
        source.set_aside(row, row.problem)
        return None
    source.columns = source.columns or ", ".join(map(str, row.value))[:300]
    try:
        return kind.model_validate(SHAPES[kind](row.value, fields))
    except shapes.WrongRow as error:
        source.set_aside(row, str(error))
    except UnicodeEncodeError:
        source.set_aside(row, "holds half a character (a lone surrogate)")
    except ValidationError as error:
        first = error.errors()[0]
        source.set_aside(row, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")
    return None


def _named(source: Source[R], records: list[R]) -> list[R]:
    """Records with an id of their own each: the first keeps a repeated one, others get their content behind it."""
    seen: set[str] = set()
    named = []
    for record in records:
        if record.id in seen:
            record = record.model_copy(update={"id": f"{record.id}-{record.content[:12]}"})
            source.renamed += 1
        seen.add(record.id)
        named.append(record)
    return named


def _rows(store: BlobStore, ref: str, columns: set[str]) -> Iterator[Row]:
    """Rows of all files of a reference, one file on disk at a time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        files = _files(store, ref)
        for name, fetch in files:
            fetch(path)
            try:
                yield from read(path, name, shapes.COLUMNS | columns)
            except EmptyFile:  # of many, some hold nothing: writers with a file a task leave them
                if len(files) == 1:
                    raise
            path.unlink()


def _files(store: BlobStore, ref: str) -> list[tuple[str, Callable[[Path], object]]]:
    if ref.startswith("sha256:"):
        entries = [f for f in store.get_manifest(ref).files if f.path.endswith((".jsonl", ".parquet"))]
        if not entries:
            raise ValidationFailure(f"{ref} has no .jsonl and no .parquet file")
        return [(e.path, lambda path, e=e: store.fetch_blob(e.sha256, path)) for e in entries]  # type: ignore[misc]
    keys = store.objects_at(ref)
    found = [k for k in keys if not k.rpartition("/")[2].startswith(_ASIDE) and not k.endswith(_ABOUT)]
    if not found:
        raise ValidationFailure(f"{ref} does not exist", reason="DataNotFound")
    return [(k, lambda path, k=k: store.fetch(k, path)) for k in found]  # type: ignore[misc]
