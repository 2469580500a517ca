"""Packages of domains: fetched from anywhere into one form, pinned by its digest, refused where they are traps."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from flywheel_api.common import DomainRef
from flywheel_domains.archive import LARGEST, MOST_FILES
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.domains import packages
from flywheel_jobs.domains.checked import fetch_all
from flywheel_jobs.domains.shelf import Shelf
from flywheel_jobs.storage.store import Store
from flywheel_store.memory import MemoryBucket

FILES = {"domain.yaml": b"domain: library\n", "tools.py": b"def f(): pass\n"}


@pytest.fixture
def store() -> Store:
    return Store(MemoryBucket())


def tar(files: dict[str, bytes], mode: str = "w:gz", edit: Callable[[tarfile.TarInfo], None] = lambda _: None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mtime = len(content), 1234567
            edit(entry)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def put(store: Store, key: str, data: bytes) -> str:
    store.bucket.put(key, data)
    return store.uri(key)


def test_one_package_has_one_digest_wherever_it_lies(store: Store, tmp_path: Path) -> None:
    for path, content in {**FILES, "__pycache__/tools.pyc": b"x", ".git/config": b"x", "photo.png": b"x"}.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
        store.bucket.put(f"folder/{path}", content)
    plain = packages.pack("library", tmp_path)
    sources = [
        put(store, "a.tgz", tar(FILES)),
        put(store, "b.tar", tar(FILES, "w:")),
        put(store, "c.tar.xz", tar({f"library/{p}": c for p, c in FILES.items()}, "w:xz")),
        store.uri("folder"),
        "sha256:" + store.put_blob(plain.data)[0],
    ]
    found = [packages.find(DomainRef(name="library", source=source), store) for source in sources]
    assert {p.digest for p in found} == {plain.digest} and sources[-1] == plain.digest
    assert found[0].pin.ref == DomainRef(name="library", source=plain.digest)
    shelf = Shelf(tmp_path / "shelf")
    for _ in range(2):
        shelf.put(found[0])
    folder = shelf.folder(plain.digest)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == FILES
    assert packages.pack("library", folder).digest == plain.digest


def test_built_in_domains_are_packages_like_any_other() -> None:
    booking = packages.builtin("booking")
    assert booking.digest == packages.find(DomainRef(name="booking"), Store(MemoryBucket())).digest
    with pytest.raises(ValidationFailure, match="give it a source"):
        packages.builtin("library")


def link(entry: tarfile.TarInfo) -> None:
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"


TRAPS: dict[str, tuple[bytes, str]] = {
    "text": (b"no archive at all", "cannot be read as a tar archive"),
    "nothing": (b"", "cannot be read as a tar archive"),
    "cut off": (tar(FILES)[:60], "cannot be read as a tar archive"),
    "above": (tar({"../domain.yaml": b"x"}), "leads out of it"),
    "above by the way": (tar({"a/../../domain.yaml": b"x"}), "leads out of it"),
    "from the root": (tar({"/etc/domain.yaml": b"x"}), "leads out of it"),
    "a link": (tar({"domain.yaml": b""}, edit=link), "is a link or a device"),
    "many": (tar({f"f{n}/": b"" for n in range(5 * MOST_FILES)}), "members"),
    "a bomb": (gzip.compress(bytes(LARGEST + 1)), "larger than 8 MiB"),
    "a large file": (tar({"domain.yaml": bytes(LARGEST)}), "larger than 8 MiB"),
    "small files": (tar({"domain.yaml": b"x", **{f"f{n}.py": b"" for n in range(MOST_FILES)}}), "more than 64 files"),
    "no domain": (tar({"tools.py": b""}), r"there is no domain\.yaml"),
}


@pytest.mark.parametrize("case", TRAPS)
def test_an_archive_that_is_none_or_a_trap_is_refused(store: Store, case: str) -> None:
    data, why = TRAPS[case]
    source = put(store, "d.tgz", data)
    with pytest.raises(ValidationFailure, match=why) as refused:
        packages.find(DomainRef(name="library", source=source), store)
    assert str(refused.value).startswith("domain library: ") and refused.value.reason == "InvalidDomain"


def test_what_is_too_large_is_not_even_fetched(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    source = put(store, "large.tgz", b"x")
    monkeypatch.setattr(store.bucket, "size", lambda key: 2 << 30)
    monkeypatch.setattr(store, "fetch", lambda *_: pytest.fail("fetched"))
    with pytest.raises(ValidationFailure, match="name one archive"):
        packages.find(DomainRef(name="library", source=source), store)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("s3://flywheel/nowhere.tgz", "does not exist"),
        ("sha256:" + "a" * 64, "is not in this store"),
        ("image://nobody", "has no entry point 'nobody' in flywheel.domains"),
    ],
)
def test_a_source_that_leads_nowhere_says_so(store: Store, source: str, why: str) -> None:
    with pytest.raises(ValidationFailure, match=why):
        packages.find(DomainRef(name="library", source=source), store)


def test_an_image_of_ones_own_brings_domains_by_entry_points(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "acme_library"
    package.mkdir()
    for path, content in {**FILES, "__init__.py": b"raise SystemExit('imported')"}.items():
        (package / path).write_bytes(content)
    dist = tmp_path / "acme_library-1.dist-info"
    dist.mkdir()
    (dist / "entry_points.txt").write_text("[flywheel.domains]\nlibrary = acme_library\n")
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-library\nVersion: 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = packages.find(DomainRef(name="library", source="image://library"), store)
    assert found.digest == packages.packed("library", FILES).digest


def edited(store: Store, name: str, edit: Callable[[str], str], source: str = "booking") -> DomainRef:
    """A reference to a built-in domain with another text, in the store."""
    text = (packages.BUILTIN / source / "domain.yaml").read_text()
    changed = edit(text)
    assert changed != text
    return DomainRef(name=name, source=put(store, f"{name}.tgz", tar({"domain.yaml": changed.encode()})))


@pytest.mark.parametrize(
    ("name", "old", "new", "why"),
    [
        ("desk", "title: A", "title: Another", "says `domain: booking`: name it booking"),
        ("booking", "fare:   {type: fare,", "fare:   {type: fair,", r"domain\.yaml:\d+: .*there is no type fair"),
        ("booking", "title: A", "on: 1\ntitle: A", r"domain booking: domain\.yaml:7: on: "),
        ("booking", "A locked booking stays", "A locked booking, says get_booking, stays", r"names 'get_booking'"),
    ],
)
def test_a_broken_domain_is_refused_with_file_and_line(
    store: Store, tmp_path: Path, name: str, old: str, new: str, why: str
) -> None:
    ref = edited(store, name, lambda text: text.replace(old, new, 1))
    with pytest.raises(ValidationFailure, match=why) as refused:
        fetch_all([ref], store, Shelf(tmp_path))
    assert refused.value.reason == "InvalidDomain"


def test_a_domain_of_ones_own_that_passes_is_taken(store: Store, tmp_path: Path) -> None:
    ref = edited(store, "desk", lambda text: text.replace("domain: booking", "domain: desk", 1))
    shelf = Shelf(tmp_path)
    (package,) = fetch_all([ref], store, shelf)
    assert shelf.domain(package.digest).domain == "desk" and package.pin.name == "desk"
