"""ImportModel against a mirror that speaks the hub's protocol, and against a directory in a bucket."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import close_session
from huggingface_hub.errors import LocalEntryNotFoundError

from contract import stages
from contract.hub import COMMIT, REPO, Mirror, mirror, sha
from contract.stages import stored
from flywheel_api.common import ModelStatus
from flywheel_api.results import ImportedResult
from flywheel_api.round import FlywheelRoundStatus, HubSpec, StageState, StageStatus
from flywheel_api.stages import HUB_TOKEN_ENV, Stage, StageConfig
from flywheel_jobs.core.errors import EndpointUnavailable, FlywheelError, ValidationFailure
from flywheel_jobs.imports.hub import Hub
from flywheel_jobs.stages import import_model
from flywheel_jobs.storage.hub import PIECE, HubClient
from flywheel_jobs.storage.models import fetch_model
from flywheel_jobs.storage.store import Store
from flywheel_operator.observe.attempts import verify
from flywheel_operator.plan import results
from flywheel_store.memory import MemoryBucket
from flywheel_store.traffic import MOVED
from unit.operator.world import World, story

INDEX = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
FILES = {
    "config.json": b'{"model_type": "llama", "hidden_size": 64}',
    "tokenizer.json": b"{}",
    "LICENSE": b"as you like",
    "model.safetensors.index.json": json.dumps(INDEX).encode(),
    "model-00001-of-00002.safetensors": b"one" * 1000,
    "model-00002-of-00002.safetensors": b"two" * 1000,
    "additional_chat_templates/tools.jinja": b"{{ tools }}",
    "pytorch_model.bin": b"pickle",
    "original/consolidated.pth": b"pickle",
    "modeling_small.py": b"print('mine')",
    "README.md": b"# small",
}
CHOSEN = {name for name in FILES if not name.endswith((".bin", ".pth", ".py", ".md"))}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_model, "FIRST_PAUSE", 0.01)
    monkeypatch.delenv(HUB_TOKEN_ENV, raising=False)


def config(hub: Mirror | None, model: str = f"hf://{REPO}", **more: Any) -> StageConfig:
    spec = stages.round_spec(base={"model": model})
    if hub is not None:  # admission refuses an address of this machine
        here = spec.base.model_copy(update={"hub": HubSpec.model_construct(endpoint=hub.url)})
        spec = spec.model_copy(update={"base": here})
    return stages.config(Stage.IMPORT_MODEL, spec, "http://unused", {}, **more)


def bring(store: Store, found: StageConfig) -> ImportedResult:
    stages.run_here(found, store)
    result = stages.manifest_of(store, found).result
    assert isinstance(result, ImportedResult)
    return result


def test_a_model_comes_in_pinned_and_whole(tmp_path: Path) -> None:
    store = Store(MemoryBucket())
    before = MOVED.total
    with mirror(FILES) as hub:
        result = bring(store, config(hub, f"hf://{REPO}@v1"))
    assert (result.source, result.licence) == (f"hf://{REPO}@{COMMIT}", "apache-2.0")
    assert MOVED.total - before >= 6000  # a long file is alive while it comes
    for ref in (result.model, store.uri(f"models/hub/{REPO}/{COMMIT}")):
        folder = tmp_path / ref[:2]
        fetch_model(store, ref, folder)
        there = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        assert there == {name: FILES[name] for name in CHOSEN}


def test_a_file_comes_in_pieces_that_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the library's own pieces of 10 MiB a slow line is silent for longer than a heartbeat, and they cost more."""
    told: list[int] = []
    monkeypatch.setattr(MOVED, "add", told.append)
    with mirror({"model.safetensors": b"one" * (1 << 18)}) as hub:
        found = Hub(f"hf://{REPO}", hub.url)
        listing = found.look()
        found.fetch(listing, listing.files[0], tmp_path)
    assert sum(told) == 3 << 18 and max(told) <= PIECE


def test_the_operator_takes_what_the_stage_wrote() -> None:
    store = Store(MemoryBucket())
    with mirror(FILES) as hub:
        found = config(hub)
        result = bring(store, found)
    manifest = stages.manifest_of(store, found)
    verified, problem = asyncio.run(
        verify(stored(manifest), manifest.canonical(), found.content_key, Stage.IMPORT_MODEL)
    )
    assert problem is None and verified == manifest
    done = StageStatus(name=Stage.IMPORT_MODEL, state=StageState.SUCCEEDED)
    taken = results.taken_over(done, manifest, FlywheelRoundStatus(), "")
    assert taken == {"base_model": ModelStatus(uri=f"hf://{REPO}@{COMMIT}", digest=result.model)}
    fake, _ = story(Stage.IMPORT_MODEL, World(), {})
    assert type(fake) is type(result)


def test_nothing_is_moved_twice() -> None:
    """Another round asks what the name stands for, and no file; other weights that share a file bring the rest."""
    store = Store(MemoryBucket())
    with mirror(FILES) as hub:
        first = bring(store, config(hub))
        hub.asked.clear()
        assert bring(store, config(hub, uid="u2", only_for="u2")) == first
        assert not [path for path in hub.asked if "/resolve/" in path], hub.asked
    other = Store(MemoryBucket())
    other.put_blob(FILES["model-00001-of-00002.safetensors"])
    with mirror(FILES) as hub:
        assert bring(other, config(hub)).model == first.model, "the same files have the same digest in every store"
        assert not [path for path in hub.asked if path.endswith("model-00001-of-00002.safetensors")]


def test_an_attempt_that_was_cut_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(MemoryBucket())
    monkeypatch.setattr(import_model, "PARALLEL_FILES", 1)
    with mirror(FILES) as hub:
        move, done = import_model._move, list[str]()

        def once(ctx: Any, origin: Any, listing: Any, file: Any) -> Any:
            if len(done) == 3:
                raise EndpointUnavailable("the line is cut")
            done.append(file.path)
            return move(ctx, origin, listing, file)

        monkeypatch.setattr(import_model, "_move", once)
        with pytest.raises(EndpointUnavailable, match="the line is cut"):
            bring(store, config(hub, endpoint_patience_seconds=0.0))
        monkeypatch.setattr(import_model, "_move", move)
        hub.asked.clear()
        bring(store, config(hub, attempt=2))
        again = {path.rpartition("/")[2] for path in hub.asked if path.startswith("GET /acme")}
        assert again.isdisjoint(Path(p).name for p in done)


def test_weather_is_waited_for_and_then_is_the_hub_s() -> None:
    store = Store(MemoryBucket())
    with mirror(FILES, faults=[0]) as hub:
        assert bring(store, config(hub)).bytes
    with mirror(FILES) as hub:
        gone = config(hub, endpoint_patience_seconds=0.0)
    with pytest.raises(EndpointUnavailable, match="does not answer for hf://acme/small-1") as error:
        bring(Store(MemoryBucket()), gone)
    assert error.value.reason == "HubUnavailable"


@pytest.mark.parametrize(("faults", "raised"), [([407] * 20, ValidationFailure), ([503] * 20, EndpointUnavailable)])
def test_a_proxy_that_refuses_is_said_and_one_that_is_away_is_weather(
    faults: list[int], raised: type[FlywheelError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub is reached by the proxy of the pod's environment only: its name resolves nowhere else."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with mirror(FILES) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        close_session()
        proxy.faults.extend(faults)
        hub = Hub(f"hf://{REPO}", "http://hub.models.svc")
        with pytest.raises(raised, match=r"hub\.models\.svc"):
            hub.look()
        assert len(proxy.faults) < len(faults), "it was asked"
    close_session()


def test_a_line_that_breaks_under_a_file_is_weather() -> None:
    """The library may wrap it in words of its own: taken for a bug, a file would be dropped."""
    with mirror(FILES, cut=True) as hub, pytest.raises(EndpointUnavailable, match="does not answer for hf://acme"):
        bring(Store(MemoryBucket()), config(hub, endpoint_patience_seconds=0.0))
    wrapped = LocalEntryNotFoundError("cannot find the file on the Hub")
    wrapped.__cause__ = type("ConnectError", (Exception,), {"__module__": "httpx2"})("cut")

    def fails() -> None:
        raise wrapped

    with pytest.raises(EndpointUnavailable):
        HubClient(f"hf://{REPO}", "base.hub").ask(fails)


def test_a_file_that_breaks_our_own_code_is_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    move = import_model._move

    def broken(ctx: Any, origin: Any, listing: Any, file: Any) -> Any:
        if file.path == "tokenizer.json":
            raise KeyError("a bug")
        return move(ctx, origin, listing, file)

    monkeypatch.setattr(import_model, "_move", broken)
    with mirror(FILES) as hub, pytest.raises(ValidationFailure, match=r"tokenizer\.json of hf://.* brought in"):
        bring(Store(MemoryBucket()), config(hub))


def test_bytes_that_are_not_what_the_hub_says_are_not_committed() -> None:
    store = Store(MemoryBucket())
    with (
        mirror(FILES, damaged="model-00002-of-00002.safetensors") as hub,
        pytest.raises(EndpointUnavailable, match="came damaged"),
    ):
        bring(store, config(hub, endpoint_patience_seconds=0.0))
    assert store.manifest_at(f"models/hub/{REPO}/{COMMIT}/manifest.json") is None


def _without(*names: str, **more: bytes) -> dict[str, bytes]:
    return {k: v for k, v in FILES.items() if k not in names} | more


WEIGHTS = ("model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
REFUSED: dict[str, tuple[dict[str, bytes], str]] = {
    "pickles only": (_without(*WEIGHTS), "no safetensors weights: pickled weights are not loaded"),
    "GGUF only": (
        {**_without(*WEIGHTS, "pytorch_model.bin", "original/consolidated.pth"), "small.gguf": b"GGUF"},
        "import-model --gguf FILE",
    ),
    "an adapter": (_without("config.json") | {"adapter_config.json": b"{}"}, "LoRA adapter: merge it"),
    "no config": (_without("config.json"), "no Transformers model"),
    "no tokenizer": (_without("tokenizer.json"), "no tokenizer"),
    "a shard is missing": (_without(WEIGHTS[1]), f"not whole: it lacks {WEIGHTS[1]}"),
    "an empty index": (_without() | {WEIGHTS[0]: b"{}"}, "has an index that names no file"),
    "quantised": (
        _without() | {"config.json": b'{"model_type": "llama", "quantization_config": {"quant_method": "fp8"}}'},
        r"quantised \(fp8\), which cannot be trained",
    ),
    "no JSON": (_without() | {"config.json": b"<html>"}, "config.json of .* is no JSON"),
    "other weights": (_without(*WEIGHTS) | {"weights.safetensors": b"w"}, "save it anew with save_pretrained"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_cannot_be_trained_is_refused(name: str) -> None:
    files, sentence = REFUSED[name]
    with mirror(files) as hub, pytest.raises(ValidationFailure, match=sentence):
        bring(Store(MemoryBucket()), config(hub))


@pytest.mark.parametrize(
    ("model", "more", "reason", "sentence"),
    [
        (f"hf://{REPO}@v9", {}, "ModelNotFound", "has no revision 'v9'"),
        ("hf://acme/large-1", {}, "ModelNotFound", "has no model 'acme/large-1', or it is private"),
        (f"hf://{REPO}", {"token": "hf_x"}, "ModelNotFound", r"give a token \(base.hub.token"),
        (f"hf://{REPO}", {"gated": True}, "HubDenied", "is gated: accept its licence on its page"),
    ],
)
def test_what_a_person_has_to_mend_is_said_at_once(
    model: str, more: dict[str, Any], reason: str, sentence: str
) -> None:
    with mirror(FILES, **more) as hub, pytest.raises(FlywheelError, match=sentence) as error:
        bring(Store(MemoryBucket()), config(hub, model, endpoint_patience_seconds=60.0))
    assert isinstance(error.value, ValidationFailure) and error.value.reason == reason


def test_a_private_model_comes_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with mirror(FILES, token="hf_secret") as hub:
        monkeypatch.setenv(HUB_TOKEN_ENV, " hf_secret\n")
        assert bring(Store(MemoryBucket()), config(hub)).bytes
        monkeypatch.setenv(HUB_TOKEN_ENV, "Bearer hf_secret")
        with pytest.raises(ValidationFailure, match=r"the token of base\.hub begins with") as error:
            bring(Store(MemoryBucket()), config(hub))
    assert "hf_secret" not in str(error.value)


def test_a_directory_in_a_bucket_is_a_model_too(tmp_path: Path) -> None:
    store = Store(MemoryBucket())
    for name, data in FILES.items():
        store.put_bytes(f"plain/small/{name}", data)
    where = store.uri("plain/small")
    first = bring(store, config(None, where + "/"))
    fetch_model(store, first.model, tmp_path)
    assert (tmp_path / "config.json").read_bytes() == FILES["config.json"]
    assert sha((tmp_path / WEIGHTS[1]).read_bytes()) == sha(FILES[WEIGHTS[1]])
    store.put_bytes("plain/small/tokenizer.json", b'{"changed": 1}')
    second = bring(store, config(None, where + "/", uid="u2", only_for="u2"))
    assert second.model != first.model, "what was changed meanwhile is another model"
