"""What a stage's result is made of (`flywheel_api.content`) is what the stage's code reads: no less, and no more."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from contract import stages
from contract.models import agentic_policy, policy, serving
from contract.rounds import BOTH_TRACKS, Round, run_whole
from flywheel_api import content
from flywheel_api.artifacts import Manifest
from flywheel_api.records.agentic import Task
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import Track
from flywheel_api.round import Role
from flywheel_api.stages import PIPELINE, Runs, Stage, StageConfig
from flywheel_jobs.endpoints.llm import ChatClient
from flywheel_jobs.harness.context import OutputFile, StageContext, store_file
from flywheel_jobs.harness.runner import run_stage
from flywheel_jobs.stages.main import STAGES
from flywheel_jobs.storage.store import Store
from flywheel_store.memory import MemoryBucket

SHARED = [d.stage for d in PIPELINE if d.runs is Runs.JOB and d.stage not in content.NEVER_REUSED]
MODELS, OWN = {"base_model", "candidate_model"}, {"champion", "timeline"}


@dataclass
class Seen:
    """What a stage's code read of the spec, of the rest of its configuration, and whom it asked."""

    spec: set[str] = field(default_factory=set)
    config: set[str] = field(default_factory=set)
    roles: set[Role] = field(default_factory=set)


class Spy:
    """A part of a spec that notes which of its fields are read, as paths of `content.READS`.

    `x?` is noted for a part that is only looked whether it is there, the path itself for one that is read as a whole.
    """

    def __init__(self, model: BaseModel, path: str, seen: set[str]) -> None:
        self._model, self._path, self._seen = model, path, seen

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._model, name)
        if name not in type(self._model).model_fields:
            self._seen.add(self._path)  # a method or a property: it may read anything
            return value
        path = ".".join(filter(None, (self._path, to_camel(name))))
        if isinstance(value, BaseModel):
            self._seen.add(f"{path}?")
            return Spy(value, path, self._seen)
        if isinstance(value, list) and value and isinstance(value[0], BaseModel):
            return [Spy(v, f"{path}[]", self._seen) for v in value]
        optional_part = value is None and any(
            isinstance(t, type) and issubclass(t, BaseModel)
            for t in get_args(type(self._model).model_fields[name].annotation)
        )
        self._seen.add(f"{path}?" if optional_part else path)
        return value


class WatchedContext(StageContext):
    """Notes who is asked."""

    seen: Seen

    def llm(self, role: Role) -> ChatClient:
        self.seen.roles.add(role)
        return super().llm(role)


def watched(config: StageConfig, seen: Seen) -> StageConfig:
    """The configuration, noting what is read of it."""

    class Watched(StageConfig):
        def __getattribute__(self, name: str) -> Any:
            if name in MODELS | OWN | {"previous_rollouts", "previous_held", "earlier"}:
                seen.config.add(name)
            return super().__getattribute__(name)

    values = {name: getattr(config, name) for name in StageConfig.model_fields}
    return Watched.model_construct(**{**values, "spec": Spy(config.spec, "", seen.spec)})


class WatchedRound(Round):
    """Runs every stage in this process under observation; `seen` adds up over rounds."""

    seen: dict[Stage, Seen]

    def run(self, stage: Stage, **more: Any) -> Manifest:
        config = self.config(stage, **more)
        context = WatchedContext(watched(config, self.seen[stage]), self.store)
        context.seen = self.seen[stage]
        assert asyncio.run(run_stage(context, STAGES[stage]))
        self.done[stage] = stages.manifest_of(self.store, config)
        return self.done[stage]


def add_a_user(round_: Round) -> None:
    """Puts a task that needs a simulated user into a suite, as a user's own suite may have one."""
    prepared = round_.done[Stage.PREPARE]
    tasks = [Task.model_validate(t) for t in round_.records(Stage.INVERT_AGENTIC, "tasks.jsonl")]
    asks = [t for t in tasks if not t.single_turn][:1]
    assert asks, "no branch of the round needs a user"
    suite = store_file(round_.store, OutputFile.of("suites/booking-heldout.jsonl", Task, asks))
    files = [suite if f.path == suite.path else f for f in prepared.files]
    changed = prepared.model_copy(update={"files": files})
    round_.store.put_manifest(changed)
    round_.done[Stage.PREPARE] = changed


def rollouts_of(round_: Round) -> str:
    """Trajectories of both tracks as a training of this round would have kept them, all of them wrong."""
    (task, *_) = [Task.model_validate(t) for t in round_.records(Stage.SOLVE_AGENTIC, "tasks.jsonl")]
    asked = [{"role": "user", "content": "8+9+5"}, {"role": "assistant", "content": "?"}]
    kept = [
        Trajectory(id="a", track=Track.AGENTIC, item=task.id, step=1, score=0.0, task=task),
        Trajectory(id="r", track=Track.REASONING, item="sum", step=1, score=0.0, truth="22", messages=asked),
    ]
    return stages.rollouts(round_.store, kept)


def bring_own_files(make: Callable[..., WatchedRound]) -> WatchedRound:
    """A round whose problems and personas come from files with columns of other names."""
    store = Store(MemoryBucket())

    def put(name: str, column: str, count: int = 40) -> str:
        rows = [{"q": f"{name} {n} plus 1?", "gold": n + 1, column: f"{name} {n}"} for n in range(count)]
        store.put_bytes(name, "".join(json.dumps(r) + "\n" for r in rows).encode())
        return store.uri(name)

    fields = {"question": "q", "answer": "gold"}
    return make(
        store,
        reasoning={"seeds": put("seeds", "note"), "fields": fields},
        agentic={"personas": put("people", "who"), "personaFields": {"text": "who"}, "domains": [{"name": "booking"}]},
        evaluation={"suites": [{"name": "own", "source": put("suite", "note", 9), "fields": fields}]},
    )


def bring_a_model(make: Callable[..., WatchedRound]) -> WatchedRound:
    """A round whose base is a directory of files."""
    store = Store(MemoryBucket())
    for name, data in {
        "config.json": b'{"model_type": "m"}',
        "tokenizer.json": b"{}",
        "model.safetensors": b"w",
    }.items():
        store.put_bytes(f"small/{name}", data)
    return make(store, base={"model": store.uri("small")})


@pytest.fixture(scope="module")
def seen() -> Iterator[dict[Stage, Seen]]:
    """What all stages read in a first round, in the round after it, and in a round of one track."""
    found: dict[Stage, Seen] = defaultdict(Seen)

    def make(store: Store | None = None, **spec: Any) -> WatchedRound:
        round_ = WatchedRound(store or Store(MemoryBucket()), endpoint, stages.round_spec(**spec))
        round_.seen = found
        return round_

    with serving(extra=(agentic_policy(0.5), policy)) as endpoint:
        first = make(**BOTH_TRACKS)
        first.until(Stage.PACKAGE)
        add_a_user(first)
        run_whole(first)
        second = make(first.store, **BOTH_TRACKS, seed=8)
        second.more["previous_rollouts"] = [rollouts_of(first)]
        second.until(Stage.PACKAGE)
        run_whole(make(reasoning=None, **BOTH_TRACKS))
        run_whole(make())
        wanted = {**stages.reasoning().dump(), "difficulty": {"prompts": 120, "waves": 1}}
        make(reasoning=wanted).until(Stage.MEASURE_REASONING)  # too few are found, so that others are asked for
        make(training={"rounds": TABLE}).until(Stage.MEASURE_REASONING)
        bring_own_files(make).run(Stage.PREPARE)
        bring_a_model(make).run(Stage.IMPORT_MODEL)
        yield found


TABLE = [{"from": 1, "learningRate": "1e-6", "replayShare": "0.1", "difficulty": {"low": "0.1", "high": "0.9"}}]
CHECKED = {
    Stage.PREPARE: (
        "evaluation.suites[].gate", "evaluation.suites[].repeats", "evaluation.confidence", "evaluation.regression",
        "export?",
    ),
}  # fmt: skip
"""What a stage reads only to refuse it or to warn early: another value makes no other result, and a later stage looks
again."""


@pytest.mark.parametrize("stage", SHARED)
def test_nothing_is_read_that_the_key_does_not_hold(seen: dict[Stage, Seen], stage: Stage) -> None:
    table = (
        *content.READS[stage],
        *content.WHERE_SAID.get(stage, ()),
        *CHECKED.get(stage, ()),
        *(["training.rounds", "training.rounds[]"] if stage in content.BY_ROUND else []),
    )
    unknown = {path for path in seen[stage].spec if not any(_covers(entry, path) for entry in table)}
    assert not unknown, f"{stage} reads what content.READS lacks: a change of it would be answered by an old result"


@pytest.mark.parametrize("stage", SHARED)
def test_the_key_holds_nothing_that_is_not_read(seen: dict[Stage, Seen], stage: Stage) -> None:
    table = (*content.READS[stage], *content.WHERE_SAID.get(stage, ()))
    unread = {entry for entry in table if not any(_reads(path, entry) for path in seen[stage].spec)}
    assert not unread, f"{stage} never reads this of the spec: a change of it would throw a good result away"
    by_round = any(_reads(path, "training.rounds") for path in seen[stage].spec)
    assert by_round == (stage in content.BY_ROUND)


@pytest.mark.parametrize("stage", SHARED)
def test_who_is_asked_and_which_models_and_rollouts(seen: dict[Stage, Seen], stage: Stage) -> None:
    spec = stages.round_spec(**BOTH_TRACKS)
    made_of = content.stage_content(stage, spec, {}, "b", "c", ["d"], None, ["e"], held=True)
    assert seen[stage].roles == set(content.ROLES.get(stage, ()))
    assert (Role.POLICY in seen[stage].roles) == ("model" in made_of), "the weights that are sampled"
    assert "model" in made_of or not seen[stage].config & MODELS
    assert ("previous_rollouts" in seen[stage].config) == ("rollouts" in made_of)
    assert "previous_held" not in seen[stage].config or "held" in made_of
    assert ("earlier" in seen[stage].config) == ("earlier" in made_of)
    assert not seen[stage].config & OWN, "only stages that are never reused may read this"


def test_the_sources_are_what_prepare_fetches(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(MemoryBucket())

    def put(name: str, rows: list[dict[str, Any]]) -> str:
        store.put_bytes(name, "".join(json.dumps(r) + "\n" for r in rows).encode())
        return store.uri(name)

    people = [{"id": f"p{n}", "name": "A", "trade": "cook", "thing": "eggs", "text": str(n)} for n in range(40)]
    problems = [{"id": f"s{n}", "question": f"{n}+1", "answer": str(n + 1)} for n in range(4)]
    spec = stages.round_spec(
        reasoning={"seeds": put("seeds.jsonl", problems)},
        agentic={"personas": put("people.jsonl", people), "domains": [{"name": "booking"}]},
        evaluation={
            "suites": [
                {"name": "own", "source": put("own.jsonl", [{"id": "o", "question": "Three dozen?", "answer": "36"}])},
                {"name": "booking-heldout", "items": 2},
            ]
        },
    )
    context = StageContext(stages.config(Stage.PREPARE, spec, "http://unused/v1", {}), store)
    fetched: list[str] = []
    real = store.fetch

    def fetch(key: str, path: Path) -> Any:
        fetched.append(key)
        return real(key, path)

    monkeypatch.setattr(store, "fetch", fetch)
    assert asyncio.run(run_stage(context, STAGES[Stage.PREPARE]))
    sources = [key for key in fetched if key.startswith("s3://")]
    assert sorted(sources) == sorted(content.sources_of(spec)) and len(sources) == 3


def _covers(entry: str, path: str) -> bool:
    """Whether a change of what was read at `path` changes the table's entry."""
    if path.endswith("?"):  # whether a part is there shows in every one of its fields
        bare = path.removesuffix("?")
        return entry in (path, bare) or entry.startswith((f"{bare}.", f"{bare}[]")) or bare.startswith(f"{entry}.")
    return path == entry or path.startswith((f"{entry}.", f"{entry}[]"))


def _reads(path: str, entry: str) -> bool:
    """Whether a read at `path` looks at something of the entry."""
    return path == entry or path.startswith((f"{entry}.", f"{entry}[]"))
