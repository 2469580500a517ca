"""A broken domain is refused where a round begins, with file and line: the list of an author's mistakes, one by one.

Prepare runs before anything is served (tests/unit/operator/test_round_cases.py: a Prepare that fails its validation
makes no pool and no training), so that what is refused here costs no GPU and nothing is trained on it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel_api.common import DomainRef
from flywheel_domains.check import proofs, sample
from flywheel_jobs.core.errors import CorruptArtifact, ValidationFailure
from flywheel_jobs.domains import packages
from flywheel_jobs.domains.checked import fetch_all
from flywheel_jobs.domains.shelf import Shelf
from flywheel_jobs.storage.store import Store
from flywheel_store.memory import MemoryBucket
from unit.domains.broken import BROKEN
from unit.jobs.test_domain_packages import FILES, TRAPS, put, tar

ROWS = {broken.name: broken for broken in BROKEN}
MISTAKES = {
    "unknown column type": "unknown column type",
    "tool without schema": "a tool without a schema",
    "rule that raises": "a rule that raises",
    "rule never decisive": "a rule that another covers",
    "unreachable outcome": "an outcome that no case has",
    "table without generator": "a table without a generator",
    "a cell that nothing shows": "a column that nothing shows",
    "a row that nothing leads to": "a row that nothing leads to",
    "a two-step loophole": "a way round by two allowed calls",
    "a float in a column": "a float in a column",
    "a float in an expression": "a float in an expression",
    "code that opens a socket": "code that opens a socket",
    "code that raises": "code that raises",
    "code that answers with 10 MB": "code that answers with too much",
    "code that changes its inputs": "code that changes its inputs",
    "something left to do": "something left to do",
}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store; the tester draws as few cases as the small domain needs."""
    monkeypatch.setattr(sample, "PER_SIDE", 2)
    monkeypatch.setattr(sample, "FREE", 20)
    monkeypatch.setattr(proofs, "MOST_PLAYED", 1)
    return Store(MemoryBucket())


def refused(store: Store, source: str, shelf: Path) -> ValidationFailure:
    with pytest.raises(ValidationFailure) as error:
        fetch_all([DomainRef(name="repair-desk", source=source)], store, Shelf(shelf))
    assert error.value.reason == "InvalidDomain" and str(error.value).startswith("domain repair-desk")
    return error.value


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_broken_domain_is_told_by_prepare_with_file_and_line(mistake: str, store: Store, tmp_path: Path) -> None:
    broken = ROWS[MISTAKES[mistake]]
    folder = broken.make(tmp_path / "domain")
    source = put(store, "d.tgz", tar({path.name: path.read_bytes() for path in folder.iterdir()}))
    assert f"{broken.file}:{broken.line(folder)}: " in str(refused(store, source, tmp_path / "shelf"))


@pytest.mark.parametrize("trap", ["above", "a link", "a bomb", "a large file", "small files"])
def test_an_archive_that_is_a_trap_is_refused_and_nothing_of_it_is_written(
    trap: str, store: Store, tmp_path: Path
) -> None:
    data, why = TRAPS[trap]
    assert why in str(refused(store, put(store, "d.tgz", data), tmp_path / "shelf"))
    assert not (tmp_path / "shelf").exists()


def test_two_gigabytes_are_refused_by_their_size(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = put(store, "d.tgz", b"x")
    monkeypatch.setattr(store.bucket, "size", lambda key: 2 << 30)
    assert "8 MiB" in str(refused(store, source, tmp_path / "shelf"))


def test_a_digest_that_differs_is_no_package(store: Store, tmp_path: Path) -> None:
    sha = store.put_blob(packages.packed("repair-desk", FILES).data)[0]
    key = next(key for key in store.bucket.keys("") if sha in key)
    store.bucket.put(key, b"another package")
    with pytest.raises(CorruptArtifact, match=sha[:12]):
        fetch_all([DomainRef(name="repair-desk", source=f"sha256:{sha}")], store, Shelf(tmp_path))
