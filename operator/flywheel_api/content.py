"""What a result is made of, and the key under which everybody who makes the same finds it (law 13).

A stage is made of the parts of the round's spec that it reads (`READS`), who plays the roles that it asks (`ROLES`),
the manifests that it reads, and the weights that are sampled. Where it runs, with how many retries, at which URL and
with whose key is not part of it. `tests/contract` checks the table against what the stages' code really reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from flywheel_api.canonical import canonical_json, digest_of
from flywheel_api.common import Dialect
from flywheel_api.rljob import RLJobSpec
from flywheel_api.round import Endpoint, FlywheelRoundSpec, Role
from flywheel_api.round_table import stated
from flywheel_api.stages import TRAIN_STAGE, WARM_UP_STAGE, Stage
from flywheel_api.written import HASHES, written

DATA_FORMAT: Final = "19"
"""Version of what stages write. Raised whenever the same inputs would give a result that older code cannot read."""

_EVALUATION = (
    "reasoning.mining.maxResponseTokens", "evaluation.temperature", "evaluation.confidence",
    "evaluation.suites[].name", "evaluation.suites[].repeats",
)  # fmt: skip
READS: Mapping[Stage, tuple[str, ...]] = {
    Stage.PREPARE: (
        "seed", "reasoning.seeds", "reasoning.fields", "reasoning.mining.maxProblems", "reasoning.dedup",
        "agentic.personas", "agentic.personaFields", "agentic.holdoutPersonas", "agentic.domains",
        "evaluation.suites[].name", "evaluation.suites[].source", "evaluation.suites[].fields",
        "evaluation.suites[].items",
    ),
    Stage.IMPORT_MODEL: ("base.model",),
    Stage.EXPORT: ("export",),
    Stage.EVALUATE_BASE: _EVALUATION,
    Stage.EVALUATE_CANDIDATE: _EVALUATION,
    Stage.MINE_REASONING: (
        "seed", "reasoning.mining", "reasoning.dedup", "reasoning.freshShare", "base.round",
        "reasoning.difficulty.low", "reasoning.difficulty.high", "training.preset",
    ),
    Stage.SYNTHESIZE_REASONING: ("seed", "reasoning.synthesis"),
    Stage.VERIFY_REASONING: ("seed", "reasoning.verification", "reasoning.dedup"),
    Stage.MEASURE_REASONING: (
        "seed", "reasoning.mining", "reasoning.verification", "reasoning.dedup", "reasoning.replayShare", "base.round",
        "reasoning.difficulty.samples", "reasoning.difficulty.prompts", "reasoning.difficulty.waves", "training.preset",
        "training.reasoning.algorithm.promptsPerStep", "training.reasoning.algorithm.maxSteps",
    ),
    Stage.SEED_AGENTIC: (
        "seed", "agentic.domains", "agentic.maxTasks", "agentic.branchesPerTree", "agentic.seedMode",
        "agentic.freshShare", "agentic.legalShare", "training.preset", "training.agentic.algorithm.temperature",
    ),
    Stage.EXPAND_AGENTIC: ("seed", "agentic.branchesPerTree", "agentic.maxTasks", "agentic.legalShare"),
    Stage.INVERT_AGENTIC: (
        "seed", "agentic.domains[].name", "agentic.maxTasks", "agentic.legalShare", "agentic.trapShare",
        "agentic.freshShare",
    ),
    Stage.SOLVE_AGENTIC: (
        "seed", "agentic.solver", "agentic.acceptance", "agentic.difficulty",
        "training.preset", "training.agentic.algorithm.temperature",
    ),
    Stage.PACKAGE: (
        "seed", "reasoning?", "agentic?", "training.warmUp", "training.preset", "training.gpusPerNode",
        "training.reasoning.algorithm.promptsPerStep", "training.agentic.algorithm.promptsPerStep",
    ),
}  # fmt: skip
"""Wire paths below `spec`; `x?` is whether x is there at all, `[]` takes every entry of a list."""

WHERE_SAID: Mapping[Stage, tuple[str, ...]] = {Stage.PACKAGE: ("training.validationRows",)}
"""Wire paths that a stage reads as those of `READS`, of which a round that does not say them knows nothing."""

BY_ROUND: Mapping[Stage, tuple[str, ...]] = {
    Stage.MINE_REASONING: ("low", "high"),
    Stage.MEASURE_REASONING: ("replay_share",),
}
"""What a stage takes from `training.rounds`: what that says of the round's number, where it says anything."""

ROLES: Mapping[Stage, tuple[Role, ...]] = {
    Stage.EVALUATE_BASE: (Role.POLICY, Role.USER_SIMULATOR),
    Stage.EVALUATE_CANDIDATE: (Role.POLICY, Role.USER_SIMULATOR),
    Stage.MINE_REASONING: (Role.POLICY,),
    Stage.SYNTHESIZE_REASONING: (Role.TEACHER,),
    Stage.VERIFY_REASONING: (Role.SOLVER,),
    Stage.MEASURE_REASONING: (Role.POLICY, Role.TEACHER, Role.SOLVER),
    Stage.SEED_AGENTIC: (Role.TEACHER, Role.POLICY),
    Stage.EXPAND_AGENTIC: (Role.TEACHER,),
    Stage.INVERT_AGENTIC: (Role.TEACHER,),
    Stage.SOLVE_AGENTIC: (Role.SOLVER, Role.POLICY, Role.USER_SIMULATOR),
}
"""Roles that a stage asks; who plays them is part of what its result is made of."""

ROLLOUTS = frozenset({Stage.PREPARE, Stage.MINE_REASONING, Stage.SEED_AGENTIC})
"""Stages that read the rollouts of the base round's trainings; Prepare what they lead to, of a track it has not."""

EARLIER = frozenset({Stage.PREPARE})
"""Stages that read the campaign's earlier verdicts, besides those that are never reused."""

NEVER_REUSED = frozenset({Stage.GATE, Stage.EXPORT, Stage.REPORT})
"""They speak of one round: its promotion, its model's card and its page."""

_SHAPE = frozenset({
    "podTemplate", "headTemplate", "retries", "stallAfter", "startupTimeout", "wallClock", "checkpoint", "store",
    "reuse", "tracking",
})  # fmt: skip
"""Fields of an RLJob that do not change what it learns."""


def stage_content(
    stage: Stage,
    spec: FlywheelRoundSpec,
    inputs: Mapping[str, str],
    base_model: str | None = None,
    candidate_model: str | None = None,
    rollouts: Sequence[str] = (),
    sources: Mapping[str, str] | None = None,
    earlier: Sequence[str] = (),
    number: int = 1,
    held: bool = False,
) -> dict[str, str]:
    """What a CPU stage's result is made of: name to digest or word.

    `inputs` are digests by stage; `sources` the versions (entity tags) of files that spec names by address; `number` is
    the round's in its campaign; `held` whether the rollouts are of a round that was held.
    """
    wire = written(spec)
    reads = READS.get(stage, ())
    found = {f"spec.{path}": _digest(read(wire, path)) for path in reads}
    where_said = {path: read(wire, path) for path in WHERE_SAID.get(stage, ())}
    found |= {f"spec.{path}": _digest(value) for path, value in where_said.items() if value is not None}
    table = stated(spec.training.rounds, number)
    said = {name: getattr(table, name) for name in BY_ROUND.get(stage, ())}
    found |= {f"rounds.{name}": _digest(value) for name, value in said.items() if value is not None}
    found |= {f"role.{role.value}": _digest(_player(spec, role)) for role in ROLES.get(stage, ())}
    found |= {f"input.{name}": digest for name, digest in inputs.items()}
    if stage is Stage.EVALUATE_CANDIDATE:
        found["model"] = candidate_model or ""
    elif Role.POLICY in ROLES.get(stage, ()):
        found["model"] = base_model or ""
    if stage in ROLLOUTS:
        found["rollouts"] = _digest(list(rollouts))
        if held:
            found["held"] = "true"
    if stage in EARLIER and earlier:
        found["earlier"] = _digest(list(earlier))
    if stage is Stage.PREPARE:
        found |= {f"source.{uri}": version for uri, version in (sources or {}).items()}
    return {"stage": stage.value, **found}


def sources_of(spec: FlywheelRoundSpec) -> list[str]:
    """The s3:// addresses whose content Prepare reads, in order, each once."""
    named = [s.source for s in spec.evaluation.suites]
    named += [spec.reasoning.seeds] if spec.reasoning else []
    named += [spec.agentic.personas, *(d.source for d in spec.agentic.domains)] if spec.agentic else []
    return list(dict.fromkeys(uri for uri in named if uri and uri.startswith("s3://")))


def training_content(spec: RLJobSpec, model: str, sources: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a training is made of. `model` is the digest that spec.model stands for, `sources` as in `stage_content`."""
    wire = {k: v for k, v in written(spec).items() if k not in _SHAPE and k != "model"}
    found = {f"spec.{name}": _digest(value) for name, value in wire.items()}
    found |= {f"source.{uri}": version for uri, version in (sources or {}).items()}
    return {"stage": TRAIN_STAGE, "model": model, **found}


_WARM_UP = ("model", "spec.warmUp", "spec.nodes", "spec.gpusPerNode", "spec.seed")


def warm_up_content(spec: RLJobSpec, made_of: Mapping[str, str]) -> dict[str, str]:
    """What the fine-tuning before RL is made of, out of its training's: another RLJob with the same takes it over."""
    found = {name: made_of[name] for name in _WARM_UP if name in made_of}
    found |= {name: version for name, version in made_of.items() if name.startswith("source.")}
    longest = [spec.algorithm.max_prompt_tokens, spec.algorithm.max_response_tokens]
    return {**found, "stage": WARM_UP_STAGE, "longest": _digest(longest)}


def content_key(made_of: Mapping[str, str], only_for: str | None = None) -> str:
    """`sha256:<hex>` of what a result is made of. With `only_for`, an owner's uid, nobody else finds it."""
    return _digest({"format": DATA_FORMAT, "hashes": HASHES, "onlyFor": only_for, **made_of})


def read(wire: Mapping[str, Any], path: str) -> Any:
    """The value at a path of `READS` in a spec's wire form; None where it is unset."""
    value: Any = wire
    parts = path.removesuffix("?").split(".")
    for place, part in enumerate(parts):
        if part.endswith("[]"):
            rest = ".".join(parts[place + 1 :])
            return [read(entry, rest) for entry in (value or {}).get(part.removesuffix("[]")) or []]
        value = value.get(part) if isinstance(value, Mapping) else None
    return value is not None if path.endswith("?") else value


def _player(spec: FlywheelRoundSpec, role: Role) -> dict[str, Any] | None:
    """Who plays a role: the model's name, how it is sampled and spoken to, and the engine of the round's own pool."""
    own: Endpoint | None = next((e for e in spec.endpoints if e.role is role), None)
    if own is None and role is not Role.POLICY:
        own = next((e for e in spec.endpoints if e.role is Role.TEACHER), None)
    if own is None:
        return None
    engine = written(own.pool.engine) if own.pool is not None else None
    player = {"model": own.model, "poolRef": own.pool_ref, "sampling": written(own.sampling), "engine": engine}
    if own.dialect is not Dialect.AUTO:
        player["dialect"] = own.dialect.value
    return player | ({"extraBody": own.extra_body} if own.extra_body else {})


def _digest(value: Any) -> str:
    return digest_of(canonical_json(value))
