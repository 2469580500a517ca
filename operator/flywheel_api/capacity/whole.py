"""A whole round: steps, GPU-hours, tokens by role, disk and traffic, beside its budget.

Lengths and shares that only the data know are assumptions, named here; the estimate's text names them too.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flywheel_api.base import parse_duration
from flywheel_api.capacity import memory, pace
from flywheel_api.capacity.hardware import GIB, Card
from flywheel_api.capacity.shape import Shape
from flywheel_api.capacity.training import ANSWERED, Finding, Training, number, training
from flywheel_api.pool import PoolTemplate
from flywheel_api.presets import pool_template, training_spec
from flywheel_api.results import Track
from flywheel_api.rljob import RLJobSpec
from flywheel_api.round import Endpoint, FlywheelRoundSpec, Role
from flywheel_api.sampling import ONE_BY_ONE
from flywheel_api.stages import serves_base
from flywheel_api.turns import number_of

MINED, VERIFIED = 0.6, 0.5
"""Of the problems tried, those that the policy fails often enough; of their variants, those whose votes agree."""
TRIES, TURNS = 1.5, 10
"""Attempts of the solver at a task, and its turns in one; a task's user speaks as often at most."""
RESERVE_SHARE = 0.25
"""Cases beyond `maxTasks` that are written for the place of those that the solver or the band leave out, and solved."""
CALL = {"variant": 1500, "vote": 1500, "workflow": 5000, "tree": 9000, "case": 5000, "turn": 4750, "user": 3700}
"""Tokens of a call, prompt and answer: from the lengths of the demo's prompts."""
STARTS = 0.2
"""Hours that GPUs are held before a training's first step, or a pool's first answer; 168 to 196 s with 135M."""
_SUITE = 500  # items of a suite that does not say how many
_ANY = "sha256:" + "0" * 64


@dataclass(frozen=True)
class RoundEstimate:
    """The estimate of a round. `gpu_hours` and `hours` are the middle of a range of `pace.LOW` to `pace.HIGH`."""

    trainings: dict[Track, Training]
    steps: dict[Track, int]
    gpu_hours: float
    hours: float
    tokens: dict[str, float]
    traffic: float  # bytes to the store
    findings: tuple[Finding, ...]


def round_estimate(
    spec: FlywheelRoundSpec,
    shape: Shape,
    card: Card,
    overrides: Mapping[str, Any] | None = None,
    pool_card: Card | None = None,
    number: int | None = None,
) -> RoundEstimate:
    """What a round will need on these cards; a pool may have its own, `overrides` are those of the hardware.

    `number` is the round's in its campaign; without one it is 1 on a model, 2 on a round.

    Raises presets.UnknownPreset.
    """
    number = number_of(spec.base.round, number)  # later rounds may have a reference model
    specs = {track: training_spec(spec, track, _ANY, _ANY, None, (), number) for track in _tracks(spec)}
    trainings = {track: training(job, shape, card, overrides) for track, job in specs.items()}
    steps = {track: _steps(job, _rows(spec, track)) for track, job in specs.items()}
    held = {track: steps[track] * t.step.get("step", 0.0) / 3600 + STARTS for track, t in trainings.items()}
    gpu_hours = sum(held[track] * t.gpus for track, t in trainings.items())
    hours = sum(held.values())
    tokens = _tokens(spec)
    findings = [Finding(f.fits, f"training.{track}: {f.text}") for track, t in trainings.items() for f in t.findings]
    pool = pool_template(spec)
    if pool.gpus_per_replica and any(job.gpus_per_node for job in specs.values()):
        serving, problem = _serving(spec, shape, pool_card or card, pool)
        gpu_hours += serving * pool.replicas * pool.gpus_per_replica
        hours += serving
        findings += [problem] if problem else []
    saved = sum(
        math.ceil(steps[track] / job.checkpoint.every_steps) * trainings[track].checkpoint
        for track, job in specs.items()
    )
    traffic = saved + len(specs) * 4.0 * shape.weights
    return RoundEstimate(
        trainings, steps, gpu_hours, hours, tokens, traffic, (*findings, *_budget(spec, gpu_hours, hours, tokens))
    )


def pool_problem(shape: Shape, card: Card, pool: PoolTemplate) -> Finding | None:
    """What does not fit in a pool's servers, if anything: nothing is said of quantised weights or another cache."""
    if {"quantization", "kv-cache-dtype"} & {key.replace("_", "-") for key in pool.engine.args}:
        return None
    parts, _ = _server(shape, card, pool)
    room = memory.cache_tokens(shape, parts["cache"], pool.gpus_per_replica)
    if room >= pool.engine.max_model_len:
        return None
    return Finding(
        False,
        f"the pool's servers do not fit: weights {parts['weights'] / GIB:.0f} GiB a GPU of {card.memory:.0f} "
        f"({card.name}) leave a cache of {max(0, room):.0f} tokens for engine.maxModelLen {pool.engine.max_model_len}: "
        "raise gpusPerReplica (of role Policy's pool), or lower engine.maxModelLen or engine.maxNumSeqs",
    )


def _tracks(spec: FlywheelRoundSpec) -> list[Track]:
    return [t for t, made in ((Track.REASONING, spec.reasoning), (Track.AGENTIC, spec.agentic)) if made is not None]


def _steps(job: RLJobSpec, rows: float) -> int:
    steps = int(rows * job.algorithm.epochs / job.algorithm.prompts_per_step)
    return max(1, min(steps, job.algorithm.max_steps or steps))


def _variants(spec: FlywheelRoundSpec) -> float:
    if spec.reasoning is None:
        return 0.0
    operators = spec.reasoning.synthesis.structural + spec.reasoning.synthesis.persona
    return spec.reasoning.mining.max_problems * MINED * operators


def _rows(spec: FlywheelRoundSpec, track: Track) -> float:
    """Rows that are trained on, at most: sources may hold fewer problems and personas than the round would take."""
    if track is Track.REASONING:
        return _variants(spec) * VERIFIED
    return float(spec.agentic.max_tasks) if spec.agentic else 0.0


def _tokens(spec: FlywheelRoundSpec) -> dict[str, float]:
    """Tokens of the models that are asked, by the role that asks; a role without an endpoint is played by Teacher.

    Training asks nobody: its users and tools are code.
    """
    used: dict[str, float] = defaultdict(float)
    if spec.reasoning is not None:
        used[Role.TEACHER] += _variants(spec) * CALL["variant"]
        used[Role.SOLVER] += _variants(spec) * spec.reasoning.verification.votes * CALL["vote"]
    if spec.agentic is not None:
        tasks = spec.agentic.max_tasks * (1 + RESERVE_SHARE)
        seeds = math.ceil(spec.agentic.max_tasks / (spec.agentic.branches_per_tree + 1))
        played = tasks * min(TRIES, spec.agentic.solver.attempts) * min(TURNS, spec.agentic.solver.max_turns)
        used[Role.TEACHER] += seeds * (2 * CALL["workflow"] + CALL["tree"]) + tasks * CALL["case"]
        used[Role.SOLVER] += played * CALL["turn"]
        used[Role.USER_SIMULATOR] += played * CALL["user"]
    return {str(role): n for role, n in used.items()}


def _server(shape: Shape, card: Card, pool: PoolTemplate) -> tuple[dict[str, float], int]:
    share = number(pool.engine.args.get("gpu-memory-utilization"), 0.9)
    slots = pool.engine.max_num_seqs or (1024 if card.memory > 70 else pace.SLOTS)  # vLLM's own
    return memory.engine(shape, card.memory * GIB, share, slots, pool.gpus_per_replica), slots


def _serving(spec: FlywheelRoundSpec, shape: Shape, card: Card, pool: PoolTemplate) -> tuple[float, Finding | None]:
    """Hours that the pools of base and candidate mine and evaluate in.

    The endpoint's concurrency bounds what is decoded at once: requests, which hold all samples of an item where these
    are short (`sampling.ONE_BY_ONE`). A base that somebody else serves costs the round nothing.
    """
    problem = pool_problem(shape, card, pool)
    if problem is not None:
        return 0.0, problem
    policy = next((e for e in spec.endpoints if e.role is Role.POLICY), None) or Endpoint(role=Role.POLICY, pool=pool)
    parts, slots = _server(shape, card, pool)
    bases = int(serves_base(spec))
    asked = (1 + bases) * sum((s.items or (_SUITE if s.source else 50)) * s.repeats for s in spec.evaluation.suites)
    longest, together = policy.sampling.max_tokens, 1
    if spec.reasoning is not None:
        asked += bases * int(spec.reasoning.mining.max_problems * spec.reasoning.mining.samples)
        asked += bases * int(_variants(spec) * VERIFIED * spec.reasoning.difficulty.samples)
        longest = spec.reasoning.mining.max_response_tokens  # mining, which is most of it, asks for its own
        together = spec.reasoning.mining.samples if longest <= ONE_BY_ONE else 1
    slots = max(1, min(slots, policy.concurrency * together // pool.replicas))
    batch = pace.Batch(
        asked, pool.replicas, pool.gpus_per_replica, 300, ANSWERED * longest, longest, parts["cache"], slots
    )
    return pace.generation(shape, card, batch) / 3600 + (1 + bases) * STARTS, None


def _budget(spec: FlywheelRoundSpec, gpu_hours: float, hours: float, tokens: dict[str, float]) -> list[Finding]:
    """Where the budget lies below the middle of the estimate: a round that spends it out publishes nothing."""
    found = []
    if spec.budget.gpu_hours is not None and float(spec.budget.gpu_hours) < gpu_hours:
        found.append(f"budget.gpuHours {spec.budget.gpu_hours} is below the estimate of {span(gpu_hours)}")
    if parse_duration(spec.budget.wall_clock).total_seconds() < hours * 3600:
        found.append(f"budget.wallClock {spec.budget.wall_clock} is below {span(hours)} hours on GPUs alone")
    for limit in spec.budget.tokens:
        if int(limit.limit) < tokens.get(limit.role, 0):
            about = f"{tokens[limit.role] / 1e6:.0f} million"
            found.append(f"budget.tokens of {limit.role}, {limit.limit}, is below the estimate of {about}")
    return [Finding(True, f"{text}: raise it, or ask for less") for text in found]


def span(middle: float) -> str:
    """The range that an estimated time stands for."""
    low, high = middle * pace.LOW, middle * pace.HIGH
    return f"{low:.0f} to {high:.0f}" if high >= 10 else f"{low:.1f} to {high:.1f}"
