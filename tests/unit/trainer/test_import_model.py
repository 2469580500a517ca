"""Importing a model: what is committed, and that the same file is imported once."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel_api.results import ModelResult
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer import import_model
from flywheel_store.memory import MemoryBucket


class Conversions:
    """Stands in for the conversion, which needs torch; counts."""

    def __init__(self) -> None:
        self.done = 0

    def convert(self, gguf: Path, target: Path, template: str) -> None:
        self.done += 1
        target.mkdir(parents=True)
        (target / "model.safetensors").write_bytes(gguf.read_bytes())
        (target / "chat_template.jinja").write_text(template)


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> Conversions:
    made = Conversions()
    monkeypatch.setattr(import_model, "convert", made.convert)
    return made


def test_the_same_file_is_imported_once(conversions: Conversions, tmp_path: Path) -> None:
    store = Store(MemoryBucket())
    one, renamed = tmp_path / "a.gguf", tmp_path / "b.gguf"
    for path in (one, renamed):
        path.write_bytes(b"weights")
    first = import_model.import_gguf(store, one, "template", "small", "models/small")
    assert import_model.import_gguf(store, renamed, "template", "small", "models/small") == first
    assert conversions.done == 1
    assert isinstance(first.result, ModelResult) and first.made_of["gguf"] in first.result.source
    assert [f.path for f in first.files] == ["model/chat_template.jinja", "model/model.safetensors"]
    assert store.get_bytes("models/small/manifest.json") == first.canonical()
    elsewhere = import_model.import_gguf(Store(MemoryBucket()), one, "template", "small", "models/small")
    assert elsewhere.digest == first.digest, "an import has no time of its own"


def test_another_template_or_a_lost_blob_is_imported_again(conversions: Conversions, tmp_path: Path) -> None:
    store, gguf = Store(MemoryBucket()), tmp_path / "a.gguf"
    gguf.write_bytes(b"weights")
    first = import_model.import_gguf(store, gguf, "template", "small", "models/small")
    other = import_model.import_gguf(store, gguf, "another", "small", "models/small")
    assert other.content_key != first.content_key
    store.bucket.remove(f"blobs/sha256/{other.files[0].sha256[:2]}/{other.files[0].sha256}")
    import_model.import_gguf(store, gguf, "another", "small", "models/small")
    assert conversions.done == 3


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValidationFailure, match="--gguf"):
        import_model.import_gguf(Store(MemoryBucket()), tmp_path / "none", "t", "small", "models/small")
