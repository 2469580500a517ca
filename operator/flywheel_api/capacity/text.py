"""The estimate as text: what `make estimate` prints, for any of the three kinds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from flywheel_api.capacity.hardware import CARDS, GIB
from flywheel_api.capacity.shape import KNOWN, Shape, UnknownShape, known, shape_of
from flywheel_api.capacity.training import ANSWERED, PROMPTED, Finding, Training, training
from flywheel_api.capacity.whole import MINED, VERIFIED, RoundEstimate, pool_problem, round_estimate, span
from flywheel_api.pool import RolloutPoolSpec
from flywheel_api.rljob import RLJobSpec
from flywheel_api.round import FlywheelRoundSpec


def estimate(resource: str, config: str | None = None, card: str = "H100") -> str:
    """What a FlywheelRound, RLJob or RolloutPool, in YAML, will need. `config` is its model's config.json.

    Raises UnknownShape, with what to give; KeyError for a card or a kind that is unknown.
    """
    body = yaml.safe_load(resource)
    kind, spec, on = body["kind"], body["spec"], CARDS[card]
    base = spec.get("base", {})
    shape = _shape(base.get("model") or spec.get("model") or f"round {base.get('round')}", config)
    head = [
        f"{kind} {body['metadata']['name']}: {shape.weights / 1e9:.2f}e9 weights"
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
    shape = shape_of(json.loads(config)) if config else known(ref)
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
