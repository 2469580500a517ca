"""Checks of a spec that need no look at the world: what is refused here costs nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flywheel_api.artifacts import Promotion
from flywheel_api.base import parse_time
from flywheel_api.capacity.hardware import CARDS, LARGEST, PRODUCT_LABEL, card_of
from flywheel_api.capacity.memory import IMAGES
from flywheel_api.capacity.shape import FUSED, Shape
from flywheel_api.capacity.training import Finding, Training, training
from flywheel_api.capacity.whole import round_estimate, span
from flywheel_api.conditions import Reason
from flywheel_api.overrides import PROMPTED, check_overrides, prompts
from flywheel_api.pods.allowed import AllowList
from flywheel_api.pods.template import PodTemplate
from flywheel_api.pool import PoolTemplate, unfit_arguments
from flywheel_api.presets import CLIPS, PRESETS, training_spec
from flywheel_api.request import TEMPLATE, unfit
from flywheel_api.results import Track
from flywheel_api.rljob import HEAD_ON_CPU, LORA_ON_CPU, Algorithm, LoraSpec, RLJobSpec
from flywheel_api.round import FlywheelRoundSpec, TrackTraining
from flywheel_api.round_status import EstimateStatus, RoleTokens
from flywheel_api.verl.rules import refusals
from flywheel_operator.model import Problem

_PROBLEMS_SHOWN = 3
WIDEST_OF_SEQUENCES = 0.01
"""The widest clip of GSPO: 25 times the published one. Its ratios are means over a sequence's tokens."""
ANY = "sha256:" + "0" * 64
"""A model or data set where it is no matter which one."""


def round_spec(spec: FlywheelRoundSpec, allowed: AllowList) -> Problem | None:
    """The first thing that is wrong with a round."""
    if spec.training.preset not in PRESETS:
        known = ", ".join(sorted(PRESETS))
        text = f"training.preset {spec.training.preset!r} is unknown: known presets are {known}"
        return Problem(Reason.INVALID_SPEC, text)
    problem = pods(templates_of(spec), allowed)
    if problem is not None:
        return problem
    problem = _requests(spec)
    if problem is not None:
        return problem
    tracks = (Track.REASONING, spec.reasoning), (Track.AGENTIC, spec.agentic)
    for track in (name for name, made in tracks if made is not None):
        job = training_spec(spec, track, ANY, ANY, None)
        own: TrackTraining = getattr(spec.training, track)
        problem = _prompt_form(own) or _on_cpu(job) or _clip(job) or _verl(job)
        if problem is not None:
            return Problem(problem.reason, f"training.{track}: {problem.message}")
    return None


def _requests(spec: FlywheelRoundSpec) -> Problem | None:
    """What an endpoint adds to its requests and may not."""
    found = [f"endpoints, role {e.role}: {text}" for e in spec.endpoints for text in unfit(e)]
    return Problem(Reason.INVALID_SPEC, "; ".join(found[:_PROBLEMS_SHOWN])) if found else None


def _prompt_form(own: TrackTraining) -> Problem | None:
    """A prompt form of training's alone: the policy would be mined and measured with another one."""
    if not any(prompts(key) for key in own.overrides):
        return None
    text = (
        f"overrides: {PROMPTED} would hold in training alone, while the policy is mined and measured without: write it "
        f"as extraBody.{TEMPLATE} of the endpoint with role Policy, which all of them share"
    )
    return Problem(Reason.INVALID_SPEC, text)


def _on_cpu(job: RLJobSpec) -> Problem | None:
    """What the RLJob's own CRD refuses, and a round's cannot, as its preset says where it trains."""
    if job.gpus_per_node:
        return None
    if job.lora is not None:
        return Problem(Reason.INVALID_SPEC, LORA_ON_CPU)
    return Problem(Reason.INVALID_SPEC, HEAD_ON_CPU) if job.head_template is not None else None


def rljob_spec(spec: RLJobSpec, allowed: AllowList) -> Problem | None:
    """The first thing that is wrong with an RLJob: what verl would refuse must cost no GPU start."""
    templates = {"podTemplate": spec.pod_template, "headTemplate": spec.head_template}
    return pods(templates, allowed) or _clip(spec) or _verl(spec)


def templates_of(spec: FlywheelRoundSpec) -> dict[str, PodTemplate | None]:
    """The templates of a round, by where they stand."""
    pool = next((e.pool for e in spec.endpoints if e.pool is not None), None)
    return {
        "jobTemplate": spec.job_template,
        "training.podTemplate": spec.training.pod_template,
        "training.headTemplate": spec.training.head_template,
        "endpoints[].pool.podTemplate": pool.pod_template if pool is not None else None,
        "endpoints[].pool.headTemplate": pool.head_template if pool is not None else None,
    }


def _clip(job: RLJobSpec) -> Problem | None:
    """GSPO with a clip that is for tokens clips nothing."""
    clip = job.algorithm.clip
    if job.algorithm.type is not Algorithm.GSPO or max(float(clip.low), float(clip.high)) <= WIDEST_OF_SEQUENCES:
        return None
    ours = CLIPS[Algorithm.GSPO]
    text = (
        f"algorithm.clip {clip.low} and {clip.high} is for ratios of tokens, and GSPO clips those of whole sequences, "
        f'which stay near 1: set clip to at most {WIDEST_OF_SEQUENCES}, such as {{low: "{ours.low}", '
        f'high: "{ours.high}"}}'
    )
    return Problem(Reason.INVALID_SPEC, text)


def _verl(spec: RLJobSpec) -> Problem | None:
    wrong = check_overrides(spec.overrides, limit=_PROBLEMS_SHOWN)
    if wrong:
        return Problem(Reason.UNKNOWN_OVERRIDE, "; ".join(wrong))
    refused = refusals(spec)[:_PROBLEMS_SHOWN]
    return Problem(Reason.INVALID_SPEC, "verl would refuse this: " + "; ".join(refused)) if refused else None


@dataclass(frozen=True)
class Hardware:
    """What is known of where a training runs and is served: labels of the cards, verl's keys, limits of its pods.

    In bytes: memory of the Ray head, memory and disk of a pod that trains; None where nothing is limited.
    """

    product: str | None = None
    pool_product: str | None = None
    overrides: Mapping[str, Any] | None = None
    head_memory: float | None = None
    memory: float | None = None
    disk: float | None = None


def uses_gpus(spec: FlywheelRoundSpec) -> bool:
    """Whether a round trains on GPUs: on CPU no formula holds."""
    tracks = (Track.REASONING, spec.reasoning), (Track.AGENTIC, spec.agentic)
    return any(training_spec(spec, t, ANY, ANY, None).gpus_per_node for t, made in tracks if made is not None)


def capacity(
    spec: FlywheelRoundSpec, shape: Shape | str, at: Hardware, number: int | None = None
) -> tuple[Problem | None, EstimateStatus]:
    """What cannot fit, and what the round of this `number` will need; `shape` may be why it is not known.

    Where nodes are not chosen by their card, only what fits no card is refused, and the figures are for an H100.
    """
    if isinstance(shape, str):
        return None, EstimateStatus(note=f"no estimate: {shape}")
    card, serving = card_of(at.product), card_of(at.pool_product)
    usual = CARDS["H100"]
    estimate = round_estimate(spec, shape, card or usual, at.overrides, serving or usual, number)
    judged = round_estimate(spec, shape, card or LARGEST, at.overrides, serving or LARGEST, number)
    adapters = _adapters(spec.training.lora, shape)
    node = list(_node(estimate.trainings.values(), at))
    refused = [f.text for f in (*judged.findings, *node) if not f.fits] + _merge(estimate.trainings.values(), at)
    tight = [] if card else [_unknown(at.product)]
    tight += [f.text for f in (*estimate.findings, *node) if f.text not in refused]
    note = "; ".join(tight)[:1024] or None
    status = EstimateStatus(
        card=card.name if card else None,
        gpu_hours=span(estimate.gpu_hours),
        tokens=[RoleTokens(role=role, tokens=f"{n:.0f}") for role, n in estimate.tokens.items()],
        disk=f"{max(t.disk for t in estimate.trainings.values()) / 1e9:.0f}",
        written=f"{estimate.traffic / 1e9:.0f}",
        note=note,
    )
    if adapters is not None:
        return Problem(Reason.INVALID_SPEC, f"training.{adapters}"), status
    return (Problem(Reason.DOES_NOT_FIT, "; ".join(refused)) if refused else None), status


def job_fits(spec: RLJobSpec, shape: Shape | str, at: Hardware) -> Problem | None:
    """What of a training on GPUs cannot fit."""
    if isinstance(shape, str):
        return None
    wrong = _adapters(spec.lora, shape)
    if wrong is not None:
        return Problem(Reason.INVALID_SPEC, wrong)
    one = training(spec, shape, card_of(at.product) or LARGEST, at.overrides)
    refused = [f.text for f in (*one.findings, *_node([one], at)) if not f.fits] + _merge([one], at)
    return Problem(Reason.DOES_NOT_FIT, "; ".join(refused)) if refused else None


def _adapters(lora: LoraSpec | None, shape: Shape) -> str | None:
    """Adapters that this model cannot have."""
    if lora is None:
        return None
    if shape.experts:
        return (
            f"lora is for dense models: this one has {shape.experts} experts, whose weights are no layers that verl "
            "0.9.1 puts an adapter on; leave lora out"
        )
    if shape.fused and (fused := sorted(FUSED.intersection(lora.layers))):
        return (
            f"lora.targets {', '.join(fused)} are no layers of this model, which has them fused (qkv_proj, "
            "gate_up_proj): adapters would silently be on the others alone; set lora.targets: [o_proj, down_proj], or "
            "leave lora out"
        )
    narrowest = min(shape.hidden, shape.key, shape.query, shape.inner)
    if lora.rank >= narrowest:
        return f"lora.rank {lora.rank} is no low rank for a layer {narrowest} wide: lower it, or leave lora out"
    return None


def _unknown(product: str | None) -> str:
    if product is None:
        return f"nodes are not chosen by {PRODUCT_LABEL}: these are an H100's figures"
    return f"{PRODUCT_LABEL} {product} is no card that is known, or one that is shared: these are an H100's figures"


def _node(trainings: Iterable[Training], at: Hardware) -> Iterator[Finding]:
    """Memory and disk of a pod that trains.

    What a checkpoint in the making is sure to take is refused, with the weights on disk; what the whole formula adds
    (processes, Ray, a checkpoint that is kept and one to resume from) is said.
    """
    one = max(trainings, key=lambda t: t.host, default=None)
    if one is None:
        return
    saved = one.checkpoint / one.nodes
    yield from _limited("memory", "memory", at.memory, saved, one.host)
    yield from _limited("disk", "ephemeral-storage", at.disk, 2.0 * one.shape.weights + saved, one.disk - IMAGES)


def _limited(part: str, value: str, has: float | None, least: float, whole: float) -> Iterator[Finding]:
    if has is None or whole <= has:
        return
    yield Finding(
        least <= has,
        f"a pod that trains is limited to {has / 1e9:.0f} GB of {part}, and saving a checkpoint takes "
        f"{least / 1e9:.0f} there, about {whole / 1e9:.0f} in all: raise podTemplate.resources.limits.{value} "
        f"or the chart's value config.gpu.trainer.worker.limits.{value}",
    )


def _merge(trainings: Iterable[Training], at: Hardware) -> list[str]:
    """A merge that the head cannot hold ends a training that has run to its end, at each of its retries."""
    need = max((t.merge for t in trainings), default=0.0)
    if at.head_memory is None or need <= at.head_memory:
        return []
    return [
        f"merging the trained shards takes {need / 2**30:.0f} GiB of memory, and the Ray head has "
        f"{at.head_memory / 2**30:.0f}: raise headTemplate.resources.limits.memory or the chart's value "
        "config.gpu.trainer.head.limits.memory"
    ]


def pods(templates: Mapping[str, PodTemplate | None], allowed: AllowList) -> Problem | None:
    """The allow-list of the chart: what a person who may create our objects may change of their pods, by field."""
    for field, template in templates.items():
        if template is None:
            continue
        misplaced, refused = template.misplaced(heavy=field != "jobTemplate"), allowed.refusal(template)
        if misplaced is not None:
            return Problem(Reason.INVALID_SPEC, f"{field}.{misplaced}")
        if refused is not None:
            text = f"{field}.{refused}: remove it, or ask the cluster's owner to allow it in the chart's values"
            return Problem(Reason.INVALID_SPEC, text)
    return None


def engine(template: PoolTemplate) -> Problem | None:
    """What of a pool's engine arguments no engine takes."""
    found = list(unfit_arguments(template))
    return Problem(Reason.INVALID_SPEC, "; ".join(found[:_PROBLEMS_SHOWN])) if found else None


def champion(promotions: Iterable[Promotion], round_uid: str) -> Promotion | None:
    """The newest promotion of another round: what a candidate has to hold its own against."""
    others = [p for p in promotions if p.round.uid != round_uid]
    return max(others, key=lambda p: parse_time(p.at), default=None)


def verdicts(promotions: Iterable[Promotion], round_uid: str, named: Collection[str]) -> tuple[str, ...]:
    """The verdicts that other rounds were promoted by, oldest first, that know a suite which this round does not name.

    The others add nothing to what this round prepares, so that its results are still those of an equal round (law 13).
    """
    others = sorted((p for p in promotions if p.round.uid != round_uid), key=lambda p: parse_time(p.at))
    return tuple(dict.fromkeys(p.verdict_digest for p in others if not p.suites or set(p.suites) - set(named)))


def promoted_by(promotions: Iterable[Promotion], round_name: str) -> Promotion | None:
    """The newest promotion by a round of that name, whose object may be gone."""
    found = [p for p in promotions if p.round.name == round_name]
    return max(found, key=lambda p: parse_time(p.at), default=None)
