"""Checkpoints by `sha256:<digest>` or `s3://bucket/prefix`, put into a directory with every file verified."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from flywheel_api import artifacts
from flywheel_api.artifacts import FileEntry, Manifest, Owner
from flywheel_api.content import content_key
from flywheel_api.results import ModelResult
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.storage.cache import ModelCache
from flywheel_jobs.storage.store import PARALLEL_FILES, Store, inside, need_space
from flywheel_store.store import hash_file

EPOCH = "1970-01-01T00:00:00Z"  # an import has no time of its own: equal input must give an equal manifest
IMPORT = "Import"
LICENCES = ("LICENSE", "LICENCE", "NOTICE")
"""How the names of files begin, in capitals, that go with a model and with what is made of it."""
WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth", ".gguf"})


def fetch_model(store: Store, ref: str, to_dir: Path, cache: ModelCache | None = None) -> Manifest:
    """Puts the files under `model/` of a checkpoint into a directory; files already right are kept.

    What the cache has is linked from there, and what it has not is there afterwards.

    Raises ValidationFailure when there is no such checkpoint or no space for it.
    """
    manifest = _manifest(store, ref)
    files = [f for f in manifest.files if f.path.startswith("model/")]
    if not files:
        raise ValidationFailure(f"{ref} is a {manifest.kind} without files under model/: give a checkpoint")
    where = {f.path: _place(to_dir, f.path.removeprefix("model/")) for f in files}
    missing = [f for f in files if not _has_size(where[f.path], f.size)]
    if cache is None:
        need_space(to_dir, sum(f.size for f in missing), ref)
    _drop_others(to_dir, set(where.values()))

    def one(entry: FileEntry) -> None:
        path = where[entry.path]
        if _has_size(path, entry.size) and hash_file(path) == entry.sha256:
            return
        if cache is None:
            store.fetch_blob(entry.sha256, path)
        else:
            cache.place(entry, path, store.fetch_blob)

    with ThreadPoolExecutor(max_workers=PARALLEL_FILES) as pool:
        list(pool.map(one, files))
    return manifest


def _place(folder: Path, name: str) -> Path:
    """Where a file goes. A link in its own place is the cache's, of an earlier start: it is replaced, not followed."""
    path = PurePosixPath(name)
    return inside(folder, str(path.parent)) / path.name


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _drop_others(folder: Path, ours: set[Path]) -> None:
    """Takes out weights and their index of another model that was here: a loader would read those."""
    for path in folder.rglob("*"):
        if path.is_file() and path not in ours and (path.suffix in WEIGHTS or path.name.endswith(".index.json")):
            path.unlink()


def _manifest(store: Store, ref: str) -> Manifest:
    if ref.startswith("sha256:"):
        return store.get_manifest(ref)
    if not ref.startswith("s3://"):
        raise ValidationFailure(f"{ref} is not in the store: give sha256:<digest> or s3://bucket/prefix")
    manifest = store.manifest_at(f"{ref.rstrip('/')}/manifest.json")
    if manifest is None:
        raise ValidationFailure(
            f"{ref.rstrip('/')}/manifest.json does not exist, so no model was committed there. A directory of Hugging "
            "Face files is imported by a round (base.model): name the digest of its status.baseModel here; a GGUF file "
            "is brought in with `python -m flywheel_jobs import-model --gguf FILE`",
            reason="ModelNotFound",
        )
    return manifest


def standing(store: Store, key: str, made_of: Mapping[str, str]) -> Manifest | None:
    """The imported model under the key, if it is of this very source and whole."""
    manifest = store.manifest_at(f"{key}/manifest.json")
    if manifest is None:
        return None
    whole = manifest.content_key == content_key(made_of) and not store.absent(manifest.files)
    return manifest if whole and store.get_bytes(artifacts.manifest_digest_key(manifest.digest)) is not None else None


def imported(
    store: Store, key: str, entries: list[FileEntry], made_of: dict[str, str], result: ModelResult
) -> Manifest:
    """Commits an imported model, by its digest and under the key. Raises CorruptArtifact if a blob is missing."""
    name = made_of["name"]
    manifest = Manifest(
        owner=Owner(kind=IMPORT, namespace="", name=name, uid=f"import-{name}"),
        stage=IMPORT,
        attempt=1,
        content_key=content_key(made_of),
        made_of=made_of,
        files=entries,
        result=result,
        created_at=EPOCH,
    )
    store.put_manifest(manifest)
    store.put_bytes(f"{key}/manifest.json", manifest.canonical(), "application/json")
    return manifest
