"""Export: what a round promoted as a plain directory of Hugging Face files, with a card, under a prefix or a volume."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from contract import stages
from contract.stages import stored
from flywheel_api.artifacts import FileEntry, Manifest, Owner
from flywheel_api.content import content_key
from flywheel_api.results import (
    DatasetResult,
    ExportedResult,
    GateOutcome,
    ImportedResult,
    ModelResult,
    Result,
    Split,
    SuiteVerdict,
    Track,
    TrainingResult,
    Verdict,
    VerdictResult,
)
from flywheel_api.round import ClaimTarget, ExportSpec, FlywheelRoundStatus, StageState, StageStatus
from flywheel_api.stages import Stage, StageConfig
from flywheel_jobs.core.errors import StoreUnavailable, ValidationFailure
from flywheel_jobs.exports import targets
from flywheel_jobs.exports.targets import Prefix, Volume
from flywheel_jobs.stages import export
from flywheel_jobs.storage.models import imported
from flywheel_jobs.storage.store import Store
from flywheel_operator.observe.attempts import verify
from flywheel_operator.plan import results
from flywheel_store.memory import MemoryBucket
from unit.operator.world import World, story

TO = "s3://flywheel/published/support-r1"


def safetensors(**tensors: list[float]) -> bytes:
    """The format by its specification: length of the header, the header, the values."""
    header, data = {}, b""
    for name, values in tensors.items():
        packed = struct.pack(f"<{len(values)}f", *values)
        header[name] = {
            "dtype": "F32",
            "shape": [len(values)],
            "data_offsets": [len(data), len(data) + len(packed)],
        }
        data += packed
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


WEIGHTS = {
    "model-00001-of-00002.safetensors": safetensors(a=[1.0, 2.0]),
    "model-00002-of-00002.safetensors": safetensors(b=[3.0]),
}
MODEL = {
    "config.json": json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}).encode(),
    "tokenizer.json": b"{}",
    "generation_config.json": b"{}",
    "model.safetensors.index.json": json.dumps(
        {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    ).encode(),
    **WEIGHTS,
}


class Campaign:
    """A store with a base, two trainings and a verdict."""

    def __init__(
        self,
        verdict: Verdict = Verdict.PROMOTED,
        licence: str = "apache-2.0",
        store: Store | None = None,
        model: Mapping[str, bytes] = MODEL,
    ) -> None:
        self.store = store or Store(MemoryBucket())
        base = [self.file(f"model/{n}", d) for n, d in {"config.json": b"{}", "LICENSE": b"as you like"}.items()]
        made_of = {"stage": "Import", "source": "hf://acme/small@c0ffee", "name": "small"}
        origin = ModelResult(source="hf://acme/small@c0ffee", licence=licence)
        self.base = imported(self.store, "models/small", base, made_of, origin).digest
        data = self.put(
            DatasetResult(track=Track.REASONING, split=Split.TRAIN), {}, [self.file("t.parquet", b"p", 640)]
        )
        first = self.put(TrainingResult(step=5, algorithm="GRPO"), {"model": self.base, "train": data}, [])
        files = [self.file(f"model/{name}", content) for name, content in model.items()]
        self.model = self.put(TrainingResult(step=8, algorithm="GSPO"), {"model": first}, files)
        suite = SuiteVerdict(
            suite="numeracy-heldout",
            base=0.25,
            base_interval=[0.2, 0.3],
            candidate=0.5,
            candidate_interval=[0.45, 0.55],
            gain=0.25,
            gain_interval=[0.2, 0.3],
            items=50,
            gate=GateOutcome.PASSED,
        )
        self.gate = self.put(VerdictResult(verdict=verdict, model=self.model, step=8, suites=[suite]), {}, [])

    def file(self, path: str, data: bytes, records: int | None = None) -> FileEntry:
        sha, size = self.store.put_blob(data)
        return FileEntry(path=path, sha256=sha, size=size, records=records)

    def put(self, result: Result, inputs: dict[str, str], files: list[FileEntry]) -> str:
        owner = Owner(kind="RLJob", namespace="n", name=f"j-{len(files)}", uid="j")
        manifest = Manifest(
            owner=owner, stage="Train", attempt=1, files=files, inputs=inputs, result=result,
            content_key=content_key(inputs), created_at="2026-01-01T00:00:00Z",
        )  # fmt: skip
        return self.store.put_manifest(manifest)

    def config(self, to: ExportSpec | None = None, **more: Any) -> StageConfig:
        spec = stages.round_spec().model_copy(update={"export": to or ExportSpec(s3=TO)})
        return stages.config(Stage.EXPORT, spec, "http://unused", {"Gate": self.gate}, **more)

    def run(self, **more: Any) -> ExportedResult:
        config = self.config(**more)
        stages.run_here(config, self.store)
        result = stages.manifest_of(self.store, config).result
        assert isinstance(result, ExportedResult)
        return result

    def there(self, address: str = TO) -> dict[str, bytes]:
        target = Prefix(address, self.store)
        return {name: target.read(name) or b"" for name in target.names()}


def whole(there: Mapping[str, bytes]) -> None:
    """As a loader of Hugging Face files reads a directory: the index names shards, each holds its tensors."""
    assert json.loads(there["config.json"])["model_type"] == "llama"
    for tensor, shard in json.loads(there["model.safetensors.index.json"])["weight_map"].items():
        data = there[shard]
        length = struct.unpack("<Q", data[:8])[0]
        begin, end = json.loads(data[8 : 8 + length])[tensor]["data_offsets"]
        assert len(data) == 8 + length + end and end > begin
    for line in there["SHA256SUMS"].decode().splitlines():
        sha, _, name = line.partition("  ")
        assert hashlib.sha256(there[name]).hexdigest() == sha
    assert {line.split("  ")[1] for line in there["SHA256SUMS"].decode().splitlines()} == set(there) - {"SHA256SUMS"}


def test_a_promoted_model_becomes_a_directory_with_a_card() -> None:
    campaign = Campaign()
    result = campaign.run()
    there = campaign.there()
    whole(there)
    assert {n: there[n] for n in MODEL} == MODEL and there["LICENSE"] == b"as you like"
    assert (result.uri, result.model) == (TO, campaign.model)
    head, text = there["README.md"].decode().split("---\n")[1:]
    assert yaml.safe_load(head) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": "apache-2.0",
        "base_model": "acme/small",
        "tags": ["flywheel"],
    }
    assert "| numeracy-heldout | 50 | 25.0 [20.0, 30.0] | 50.0 [45.0, 55.0] | +25.0 [+20.0, +30.0] | Passed |" in text
    assert "1. GRPO by" in text and "640 reasoning prompts" in text and "2. GSPO by" in text
    for digest in (campaign.base, campaign.model, campaign.gate):
        assert digest in text
    known = json.loads(there["flywheel.json"])
    assert (known["model"], known["base"], known["licence"]) == (campaign.model, campaign.base, "apache-2.0")


def test_the_operator_takes_what_the_stage_wrote() -> None:
    campaign = Campaign()
    result, config = campaign.run(), campaign.config()
    manifest = stages.manifest_of(campaign.store, config)
    found, problem = asyncio.run(verify(stored(manifest), manifest.canonical(), config.content_key, Stage.EXPORT))
    assert problem is None and found == manifest
    done = StageStatus(name=Stage.EXPORT, state=StageState.SUCCEEDED)
    taken = results.taken_over(done, manifest, FlywheelRoundStatus(), "")
    assert taken == {"exported": result.uri}
    fake, _ = story(Stage.EXPORT, World(), {})
    assert type(fake) is type(result)


def test_what_was_exported_can_be_the_base_of_a_round() -> None:
    """The directory is read by the rules of the import, from the bucket, as anybody's."""
    campaign = Campaign()
    campaign.run()
    spec = stages.round_spec(base={"model": TO})
    config = stages.config(Stage.IMPORT_MODEL, spec, "http://unused", {})
    stages.run_here(config, campaign.store)
    result = stages.manifest_of(campaign.store, config).result
    assert isinstance(result, ImportedResult)
    brought = {f.path: f.sha256 for f in campaign.store.get_manifest(result.model).files}
    assert {f"model/{n}": hashlib.sha256(d).hexdigest() for n, d in MODEL.items()}.items() <= brought.items()


def test_a_volume_takes_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets.Volume, "__init__", _at(tmp_path))
    campaign = Campaign()
    assert campaign.run(to=ExportSpec(claim=ClaimTarget(name="models"))).uri == "pvc://models/r1"
    folder = tmp_path / "r1"
    there = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    whole(there)
    assert there == campaign_at_a_prefix()


def campaign_at_a_prefix() -> dict[str, bytes]:
    campaign = Campaign()
    campaign.run()
    return campaign.there()


def _at(root: Path) -> Any:
    made = Volume.__init__

    def init(self: Volume, claim: str, path: str) -> None:
        made(self, claim, path, root)

    return init


def test_an_attempt_that_was_cut_goes_on_and_repairs(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = Campaign()
    bring, brought = Prefix.bring, list[str]()

    def cut(self: Prefix, store: Store, name: str, blob: FileEntry) -> None:
        if len(brought) == 3:
            raise StoreUnavailable("the line is cut")
        brought.append(name)
        bring(self, store, name, blob)

    monkeypatch.setattr(export, "PARALLEL_FILES", 1)
    monkeypatch.setattr(Prefix, "bring", cut)
    with pytest.raises(StoreUnavailable):
        campaign.run()
    first = set(brought)
    assert len(first) == 3 and "SHA256SUMS" not in campaign.there(), "what is not whole does not say that it is"
    campaign.store.bucket.elsewhere("flywheel", "published/support-r1").remove(brought[0])
    again = list[str]()

    def go_on(self: Prefix, store: Store, name: str, blob: FileEntry) -> None:
        again.append(name)
        bring(self, store, name, blob)

    monkeypatch.setattr(Prefix, "bring", go_on)
    campaign.run(attempt=2)
    assert sorted(again) == sorted({*MODEL, "LICENSE"} - first | {brought[0]}), "what is there is not copied twice"
    whole(campaign.there())


def test_another_round_may_export_the_same_model_again() -> None:
    campaign = Campaign()
    campaign.run()
    campaign.run(uid="u2", name="again")
    whole(campaign.there())
    assert b"# again" in campaign.there()["README.md"]


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("model.safetensors", b"old", "holds other files (model.safetensors): name an empty directory"),
        ("flywheel.json", b'{"model": "sha256:0"}', "holds another exported model (sha256:0): name another directory"),
        ("flywheel.json", b"[", "holds another exported model (its flywheel.json cannot be read)"),
    ],
)
def test_a_directory_of_something_else_is_left_alone(name: str, data: bytes, sentence: str) -> None:
    campaign = Campaign()
    Prefix(TO, campaign.store).write(name, data)
    with pytest.raises(ValidationFailure) as refused:
        campaign.run()
    assert sentence in str(refused.value) and refused.value.reason == "ExportTargetUnusable"
    assert campaign.there() == {name: data}


def test_a_volume_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "r1").write_text("a file where the directory should be")
    with pytest.raises(ValidationFailure, match="pvc://models/r1 cannot be written"):
        Volume("models", "r1", tmp_path).write("flywheel.json", b"{}")


class Killed(BaseException):
    """The pod dies here."""


@pytest.mark.parametrize("survives", range(5))
def test_an_attempt_that_dies_with_a_file_half_written_is_followed_by_one_that_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    """What it had begun was taken for somebody else's model, for good; and it stayed beside the exported one."""
    monkeypatch.setattr(targets.Volume, "__init__", _at(tmp_path))
    replace, left = os.replace, [survives]

    def dying(source: Path, to: Path) -> None:
        if left and left[0] == 0 and Path(to).is_relative_to(tmp_path):
            raise Killed
        left[0] -= 1
        replace(source, to)

    campaign, to = Campaign(), ExportSpec(claim=ClaimTarget(name="models"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dying)
        with pytest.raises(Killed):
            campaign.run(to=to)
    (tmp_path / "r1" / ".model.safetensors.140.part").write_bytes(b"a download that was cut")
    campaign.run(to=to, attempt=2)
    whole({p.relative_to(tmp_path / "r1").as_posix(): p.read_bytes() for p in (tmp_path / "r1").rglob("*")})


def test_a_held_model_is_not_exported() -> None:
    campaign = Campaign(Verdict.HELD)
    with pytest.raises(ValidationFailure, match="promoted"):
        campaign.run()
    assert campaign.there() == {}


@pytest.mark.parametrize(
    ("licence", "head", "sentence"),
    [
        ("", {}, "not known to Flywheel: find it out"),
        ("Acme Terms 2", {"license": "other", "license_name": "Acme Terms 2"}, "licensed as `Acme Terms 2`"),
    ],
)
def test_the_card_says_what_is_known_of_the_licence(licence: str, head: dict[str, str], sentence: str) -> None:
    campaign = Campaign(licence=licence)
    campaign.run()
    header, text = campaign.there()["README.md"].decode().split("---\n")[1:]
    found = yaml.safe_load(header)
    assert {k: v for k, v in found.items() if k.startswith("license")} == head and sentence in text
