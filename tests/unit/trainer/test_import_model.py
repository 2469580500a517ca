"""Importing a model: what is committed, and that the same file is imported once."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from demo import manifests
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


def test_an_image_that_reads_no_gguf_says_which_one_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    monkeypatch.setitem(sys.modules, "transformers", ModuleType("transformers"))
    with pytest.raises(ValidationFailure, match=r"reads no GGUF .*ray-cpu image"):
        import_model.convert(tmp_path / "a.gguf", tmp_path / "out", "template")


def test_the_example_s_job_is_the_demo_s_with_a_file_of_ones_own() -> None:
    root = Path(__file__).parents[3]
    example = yaml.safe_load((root / "examples" / "import-gguf" / "job.yaml").read_text())
    demo = manifests.import_job("flywheel", "any")
    ours, theirs = (job["spec"]["template"]["spec"]["containers"][0] for job in (example, demo))
    assert [e for e in ours["env"] if "valueFrom" in e] == [e for e in theirs["env"] if "valueFrom" in e]
    assert ours["command"][: len(theirs["command"])] == theirs["command"]
    assert ours["securityContext"] == theirs["securityContext"]
    pods = [job["spec"]["template"]["spec"] for job in (example, demo)]
    assert pods[0]["securityContext"] == pods[1]["securityContext"]
