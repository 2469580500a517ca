"""What only a look at the cluster and the store can tell, before anything that costs money starts."""

from __future__ import annotations

import json
from dataclasses import replace

from pydantic import ValidationError

from flywheel_api.artifacts import blob_key
from flywheel_api.base import HUB
from flywheel_api.bounds import quantity
from flywheel_api.capacity.hardware import PRODUCT_LABEL
from flywheel_api.capacity.shape import Shape, official, shape_of
from flywheel_api.common import ModelStatus
from flywheel_api.conditions import Reason
from flywheel_api.pods.template import PodShape, PodTemplate, laid_over
from flywheel_api.results import TrainingResult, Verdict
from flywheel_api.rljob import RLJobSpec
from flywheel_api.round import Endpoint, FlywheelRoundSpec, FlywheelRoundStatus
from flywheel_api.round_base import OnHeld
from flywheel_api.turns import number_of
from flywheel_operator.model import Found, Meta, Problem
from flywheel_operator.observe.attempts import Results, read_promotions
from flywheel_operator.observe.base import Context
from flywheel_operator.observe.needs import claim, pods_find
from flywheel_operator.observe.nodes import round_groups
from flywheel_operator.plan import graph, keys
from flywheel_operator.plan.preflight import (
    Hardware,
    capacity,
    promoted_by,
    round_spec,
    templates_of,
    uses_gpus,
    verdicts,
)
from flywheel_operator.ports.kinds import POOLS, RAY_API, RAYCLUSTERS, RAYJOBS, RAYSERVICES, ROUNDS, KubeApi, Object
from flywheel_operator.ports.objects import ObjectStore, StoreProblem
from flywheel_operator.render.pod import sizes
from flywheel_operator.settings import Flavour

_CONFIG_BYTES = 1 << 20


async def round_preflight(context: Context, meta: Meta, spec: FlywheelRoundSpec) -> Found:
    """All checks, cheapest first; the first problem counts."""
    found = await _found(context, meta, spec)
    if found.problem is not None or found.base is None:
        return found
    nodes = await context.nodes.hold(round_groups(context.config, meta, spec, found.base))
    return replace(found, problem=nodes.problem, nodes=nodes)


async def _found(context: Context, meta: Meta, spec: FlywheelRoundSpec) -> Found:
    """What has to be there beside nodes."""
    store, trouble = await context.stores.checked(meta.namespace, spec.store.secret_name)
    problem = round_spec(spec, context.config.pod_template) or await kuberay(context.kube)
    problem = problem or await pods_find(context.kube, context.words, meta.namespace, templates_of(spec))
    problem = problem or await context.keys.problem(meta.namespace, keys.of_round(spec, meta.namespace))
    for endpoint in spec.endpoints:
        problem = problem or await _pool(context.kube, meta.namespace, endpoint)
    if spec.export is not None and spec.export.claim is not None:
        problem = problem or await claim(context.kube, context.words, meta.namespace, spec.export.claim.name)
    if problem is not None or store is None:
        return Found(problem, trouble)
    try:
        if spec.base.round is not None:
            name, on_held = spec.base.round, spec.base.on_held or OnHeld.REFUSE
            found = await promoted(context, store, meta.namespace, name, "spec.base.round", spec.campaign, on_held)
        else:
            digest, problem = await base_model(context.results, store, spec.base.model or "")
            found = Found(problem, base=ModelStatus(uri=spec.base.model or "", digest=digest) if digest else None)
        if found.base is not None:
            promotions = await read_promotions(store, meta.namespace, spec.campaign)
            found = replace(found, earlier=verdicts(promotions, meta.uid, [s.name for s in spec.evaluation.suites]))
        if found.base is None or not uses_gpus(spec):
            return found
        shape = await shape_in(context.results, store, found.base.digest)
    except StoreProblem as error:
        return Found(store_problem=Problem(error.reason, str(error)))
    pool = next((e.pool.pod_template for e in spec.endpoints if e.pool is not None), None)
    hardware = hardware_of(context.config.gpu, spec.training.pod_template, spec.training.head_template, pool)
    problem, estimate = capacity(spec, shape, hardware, found.number)
    return replace(found, problem=problem, estimate=estimate)


async def shape_in(results: Results, store: ObjectStore, digest: str) -> Shape | str:
    """The shape of a model, by its config.json in the store or its name on the hub; or why it is not known."""
    if digest.startswith(HUB):
        return official(digest) or f"the shape of {digest} is not known before it is imported"
    if digest.startswith("s3://"):
        text = await store.get(f"{digest.rstrip('/')}/config.json")
    else:
        manifest = await results.manifest(store, digest)
        files = [f for f in manifest.files if f.path == "model/config.json"] if manifest else []
        text = await store.get(blob_key(files[0].sha256)) if files and files[0].size <= _CONFIG_BYTES else None
    try:
        return shape_of(json.loads(text)) if text is not None else "the base model has no config.json in the store"
    except (ValueError, RecursionError) as error:  # UnknownShape among them
        return f"config.json of the base model: {error}"


def hardware_of(
    flavour: Flavour, template: PodTemplate, head: PodTemplate | None, pool: PodTemplate | None = None
) -> Hardware:
    """What the cluster's configuration and the templates of a training tell of the pods that train."""
    product = (flavour.trainer.pod.node_selector | template.node_selector).get(PRODUCT_LABEL)
    serving = (flavour.rollout.pod.node_selector | (pool.node_selector if pool else {})).get(PRODUCT_LABEL)
    worker = sizes(flavour.trainer.worker, template).get("limits", {})
    ray_head = sizes(flavour.trainer.head, head).get("limits", {})
    shape = laid_over(flavour.trainer.pod, template)
    return Hardware(
        product=product,
        pool_product=serving,
        overrides=flavour.overrides,
        head_memory=_bytes(ray_head.get("memory")),
        memory=_bytes(worker.get("memory")),
        disk=_bytes(worker.get("ephemeral-storage")) if _own_disk(shape) else None,
    )


def _bytes(size: str | None) -> float | None:
    return float(quantity(size)) if size else None


def _own_disk(shape: PodShape) -> bool:
    """Whether weights and checkpoints lie where the limit of ephemeral-storage counts: on no volume of another kind."""
    own = [v for v in shape.volumes if v.name in ("tmp", "models")]
    return all(v.empty_dir is not None and v.empty_dir.medium != "Memory" for v in own)


async def _pool(kube: KubeApi, namespace: str, endpoint: Endpoint) -> Problem | None:
    if endpoint.pool_ref is not None and await kube.get(POOLS, namespace, endpoint.pool_ref) is None:
        text = f"RolloutPool {endpoint.pool_ref!r} of role {endpoint.role.value} does not exist: apply it"
        return Problem(Reason.ENDPOINT_UNAVAILABLE, text)
    return None


async def promoted(
    context: Context,
    store: ObjectStore,
    namespace: str,
    name: str,
    field: str,
    campaign: str | None = None,
    on_held: OnHeld | None = None,
) -> Found:
    """The promoted model of a round: by its status, or by the record in the store when the round is gone.

    `field` names it for people; a round of the `campaign` goes before one of the same name in another. Where `on_held`
    asks for it, a held round's own base is what is found; a pool has no such wish.
    """
    found = await context.kube.get(ROUNDS, namespace, name)
    if found is None:
        return await _pruned_round(store, namespace, name, field, campaign)
    try:
        status = FlywheelRoundStatus.model_validate(found.get("status") or {})
    except ValidationError:  # of another release, or changed by hand: its own look says what is wrong
        return Found(
            waits_for=f"waiting for round {name}, whose status is not of this release: its conditions say more"
        )
    if status.finished_at is None:
        # its stage, not its progress: the text must not move with every step of the other round
        return Found(waits_for=f"waiting for round {name} to be promoted; it is at {status.stage or 'its start'}")
    falls_back = on_held is OnHeld.USE_ITS_BASE and status.verdict is Verdict.HELD
    base = status.model or (status.base_model if falls_back else None)
    if base is None:
        text = (
            f"round {name!r} of {field} ended {status.verdict or 'without a model'}: it promoted nothing, name another "
            f"one (inputs of a round are fixed: apply it anew){_own_base(found, status, on_held)}"
        )
        return Found(Problem(Reason.BASE_ROUND_NOT_PROMOTED, text))
    trained = [s.manifest for s in status.stages if s.name in graph.TRAININGS and s.manifest]
    manifests = [await context.results.manifest(store, digest) for digest in trained]
    results = [m.result for m in manifests if m is not None and isinstance(m.result, TrainingResult)]
    counted = status.by_round.number if status.by_round is not None else None
    number = number_of((found.get("spec") or {}).get("base", {}).get("round"), counted)
    rollouts = tuple(r.rollouts for r in results if r.rollouts)
    if status.model is None:
        return Found(base=base, rollouts=rollouts, number=number, held=name)
    return Found(base=base, rollouts=rollouts, number=number + 1)


def _own_base(found: Object, status: FlywheelRoundStatus, on_held: OnHeld | None) -> str:
    """What to name for the model that a round without one trained from: nothing falls back to it unasked.

    With how to ask for it, where that round was held and whoever reads this can choose.
    """
    held = status.verdict is Verdict.HELD and status.base_model is not None
    may = f", which base.onHeld: {OnHeld.USE_ITS_BASE} takes with its data" if held and on_held else ""
    earlier = (found.get("spec") or {}).get("base", {}).get("round")
    if earlier:
        return f"; what it trained from itself is base.round: {earlier}{may}"
    return f"; what it trained from itself is base.model: {status.base_model.digest}{may}" if status.base_model else ""


async def _pruned_round(store: ObjectStore, namespace: str, name: str, field: str, campaign: str | None) -> Found:
    own = await read_promotions(store, namespace, campaign) if campaign is not None else []
    promotion = promoted_by(own, name)
    promotion = promotion or promoted_by(await read_promotions(store, namespace), name)
    if promotion is None:
        text = (
            f"FlywheelRound {name!r} of {field} is not in namespace {namespace!r}, nor is a promotion of it in "
            "the store: apply it, or name a model"
        )
        return Found(Problem(Reason.BASE_ROUND_NOT_FOUND, text))
    base = ModelStatus(uri=promotion.model_digest, digest=promotion.model_digest, step=promotion.model_step)
    return Found(base=base, rollouts=tuple(promotion.rollouts), number=1 + (promotion.number or 1))


async def kuberay(kube: KubeApi) -> Problem | None:
    """KubeRay's resources must be there, all of them: they come one after the other."""
    if {RAYJOBS.plural, RAYSERVICES.plural, RAYCLUSTERS.plural} <= await kube.served(RAY_API):
        return None
    return Problem(
        Reason.KUBERAY_NOT_INSTALLED,
        "this cluster has no KubeRay (ray.io/v1): install the KubeRay operator, 1.6 or newer; "
        "then this goes on by itself",
    )


async def model(results: Results, store: ObjectStore, ref: str) -> tuple[str | None, Problem | None]:
    """Digest of a model reference, or what is missing."""
    digest = await results.resolve(store, ref)
    if digest is not None:
        return digest, None
    if ref.startswith("s3://"):
        key = f"{ref.rstrip('/')}/manifest.json"
        text = (
            f"there is no {key}: name a committed checkpoint, or import a GGUF file (`python -m flywheel_jobs "
            "import-model --gguf FILE`). A round takes a directory with config.json and safetensors as well: a pool or "
            "an RLJob then takes the digest of its status.baseModel"
        )
    else:
        text = f"no manifest {ref} in the store {store.settings.uri('manifests/')}: name a committed checkpoint"
    return None, Problem(Reason.MODEL_NOT_FOUND, text)


async def own_model(results: Results, store: ObjectStore, ref: str) -> tuple[str | None, Problem | None]:
    """The same for a pool or an RLJob, which leaves a hub's model to its engine: that knows no revision."""
    if ref.startswith(HUB) and "@" in ref:
        text = (
            f"{ref}: a pool or an RLJob leaves a hub's model to its engine, which takes no revision. A round imports "
            "and pins it (base.model): name the digest of its status.baseModel here, or leave the revision out"
        )
        return None, Problem(Reason.MODEL_NOT_FOUND, text)
    return await model(results, store, ref)


async def base_model(results: Results, store: ObjectStore, ref: str) -> tuple[str | None, Problem | None]:
    """The same for a round, which imports a directory of Hugging Face files: that stands for itself until then."""
    digest, problem = await model(results, store, ref)
    if problem is not None and ref.startswith("s3://"):
        config = await store.get(f"{ref.rstrip('/')}/config.json")
        return (None, problem) if config is None else (ref, None)
    return digest, problem


async def data(results: Results, store: ObjectStore, spec: RLJobSpec) -> Problem | None:
    """Every dataset manifest of an RLJob must be there. Plain files (s3://) are left to the job: they may be large."""
    for ref in spec.datasets:
        if ref.startswith("sha256:") and await results.resolve(store, ref) is None:
            return Problem(
                Reason.DATA_NOT_FOUND,
                f"dataset {ref} is not in the store: name a committed dataset in spec.data (or warmUp.data)",
            )
    return None
