"""The estimate as text: what `make estimate` prints, for any of the three kinds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from flywheel_api.capacity.hardware import CARDS, GIB, Card
from flywheel_api.capacity.shape import KNOWN, Shape, UnknownShape, known, shape_of
from flywheel_api.capacity.training import ANSWERED, PROMPTED, Finding, Training, training
from flywheel_api.capacity.whole import MINED, VERIFIED, RoundEstimate, pool_problem, round_estimate, span
from flywheel_api.pool import RolloutPoolSpec
from flywheel_api.rljob import RLJobSpec
from flywheel_api.round import FlywheelRoundSpec

_KINDS = ("FlywheelRound", "RLJob", "RolloutPool")


def estimate(resource: str, config: str | None = None, card: str = "H100") -> str:
    """What a FlywheelRound, RLJob or RolloutPool, in YAML, will need. `config` is its model's config.json.

    Raises ValueError with a sentence where there is none; UnknownShape, with what to give, among them.
    """
    if card not in CARDS:
        raise ValueError(f"{card} is no card that is known: {', '.join(CARDS)}")
    kind, name, spec = _resource(resource)
    on, base = CARDS[card], spec.get("base") or {}
    base = base if isinstance(base, dict) else {"model": base}  # that this is none is said when the spec is read
    shape = _shape(str(base.get("model") or spec.get("model") or f"round {base.get('round')}"), config)
    try:
        return _estimate(kind, name, spec, shape, on)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, ("spec", *first["loc"])))
        raise ValueError(f"{kind} {name}: {where}: {first['msg'].removeprefix('Value error, ')}") from None


def _resource(text: str) -> tuple[str, str, dict[str, Any]]:
    """Kind, name and spec of the one resource that is written there. Raises ValueError with a sentence."""
    try:
        bodies = [body for body in yaml.safe_load_all(text) if body is not None]
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"no YAML: {error}") from None
    if len(bodies) > 1:
        raise ValueError(f"{len(bodies)} resources in one file: give one")
    body = bodies[0] if bodies and isinstance(bodies[0], dict) else {}
    kind, spec, meta = body.get("kind"), body.get("spec"), body.get("metadata")
    if kind not in _KINDS or not isinstance(spec, dict):
        raise ValueError(f"no {', '.join(_KINDS[:-1])} or {_KINDS[-1]}")
    return kind, str(meta.get("name", "")) if isinstance(meta, dict) else "", spec


def _estimate(kind: str, name: str, spec: dict[str, Any], shape: Shape, on: Card) -> str:
    head = [
        f"{kind} {name}: {shape.weights / 1e9:.2f}e9 weights"
        + (f", {shape.active / 1e9:.2f}e9 active" if shape.experts else "")
        + f", on {on.name} ({on.memory:.0f} GiB)"
    ]
    if kind == "RolloutPool":
        problem = pool_problem(shape, on, RolloutPoolSpec.model_validate(spec))
        return "\n".join(head + _findings((problem,) if problem else ()))
    if kind == "RLJob":
        one = training(RLJobSpec.model_validate(spec), shape, on)
        return "\n".join([*head, *_training("training", one), *_findings(one.findings)])
    return "\n".join([*head, *_round(round_estimate(FlywheelRoundSpec.model_validate(spec), shape, on))])


def _shape(ref: str, config: str | None) -> Shape:
    try:
        shape = shape_of(json.loads(config)) if config is not None else known(ref)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UnknownShape(f"config.json of {ref} is no JSON: {error}") from None
    if shape is None:
        names = ", ".join(KNOWN)
        raise UnknownShape(f"the shape of {ref} is not known: give its config.json (CONFIG=...); known are {names}")
    return shape


def _round(e: RoundEstimate) -> list[str]:
    lines = [line for track, one in e.trainings.items() for line in _training(str(track), one, e.steps[track])]
    lines += [f"whole round: {span(e.gpu_hours)} GPU-hours, {span(e.hours)} hours on GPUs"] if e.gpu_hours else []
    lines += [f"tokens: {', '.join(f'{role} {n / 1e6:.0f} million' for role, n in e.tokens.items())}"]
    lines += [f"store: {e.traffic / 1e12:.2f} TB written by checkpoints"]
    lines += [
        f"assumed: answers {ANSWERED:.0%} and prompts {PROMPTED:.0%} of their limit, {MINED:.0%} of problems mined, "
        f"{VERIFIED:.0%} of variants agreed on, as many problems and tasks as the round allows"
    ]
    return lines + _findings(e.findings)


def _training(name: str, t: Training, steps: int | None = None) -> list[str]:
    where = f"{t.gpus} GPUs on {t.nodes} node(s)" if t.gpus else "CPU (memory and time: no formula)"
    lines = [f"{name}: {where}" + (f", {steps} steps" if steps else "")]
    for moment, peak in t.peaks.items():
        need = peak.allocated / GIB
        lines.append(f"  {moment:14s} {need:5.1f} GiB a GPU allocated = {_parts(peak.parts)}")
    if t.engine:
        lines.append(f"  sampler        {_parts(t.engine)}; {t.cache_tokens / 1e3:.0f} k tokens a replica")
    if t.step:
        phases = ", ".join(f"{name} {seconds:.0f}" for name, seconds in t.step.items() if name != "step")
        lines.append(f"  step           {span(t.step['step'])} s ({phases})")
    return [
        *lines,
        f"  node           {t.host / 1e9:.0f} GB of memory, {t.disk / 1e9:.0f} GB of disk",
        f"  checkpoint     {t.checkpoint / 1e9:.1f} GB; merging takes {t.merge / 1e9:.1f} GB of memory",
    ]


def _parts(parts: Mapping[str, Any]) -> str:
    return ", ".join(f"{part} {size / GIB:.1f}" for part, size in parts.items())


def _findings(found: tuple[Finding, ...]) -> list[str]:
    return [("warning: " if f.fits else "DOES NOT FIT: ") + f.text for f in found] or ["fits"]
