"""A round's children: stage configs, its RolloutPools and its RLJobs."""

from __future__ import annotations

from collections.abc import Mapping

from flywheel_api import API_VERSION
from flywheel_api.artifacts import Owner
from flywheel_api.conditions import ConditionType, find_condition
from flywheel_api.content import ROLES
from flywheel_api.names import ANNOTATION_PAGE
from flywheel_api.pool import RolloutPoolSpec
from flywheel_api.presets import pool_template
from flywheel_api.request import time_out
from flywheel_api.resources import POOL, RLJOB, ROUND
from flywheel_api.results import Verdict
from flywheel_api.rljob import RLJobSpec
from flywheel_api.round import Endpoint, FlywheelRoundSpec, FlywheelRoundStatus, Role, StageStatus
from flywheel_api.sampling import NEUTRAL
from flywheel_api.stages import ResolvedEndpoint, Stage, StageConfig
from flywheel_operator.model import Action, Meta, Object, RoundSeen
from flywheel_operator.plan import budget, content, graph
from flywheel_operator.plan.pool import endpoint_url
from flywheel_operator.render.common import config_text, labels, metadata
from flywheel_operator.render.job import key_variable, stage_job
from flywheel_operator.settings import OperatorConfig

POLICY_MODEL = "policy"


def child(
    config: OperatorConfig,
    meta: Meta,
    spec: FlywheelRoundSpec,
    status: FlywheelRoundStatus,
    seen: RoundSeen,
    action: Action,
) -> Object:
    """The body of a stage's child. `status` is the planned one."""
    stage = Stage(action.stage)
    stages = graph.stages_of(spec, status.stages)
    if action.kind == POOL.kind:
        return _object(meta, POOL.kind, action, pool_spec(spec, status, stage, stages).dump())
    if action.kind == RLJOB.kind:
        body = _object(meta, RLJOB.kind, action, rljob_spec(spec, status, stage, stages, seen).dump())
        page = config_text(stage_config(config, meta, spec, status, seen, action))
        body["metadata"]["annotations"] = {ANNOTATION_PAGE: page}
        return body
    return stage_job(config, meta, stage_config(config, meta, spec, status, seen, action), action)


def _object(meta: Meta, kind: str, action: Action, spec: Object) -> Object:
    marks = labels(meta, ROUND.kind, kind.lower(), action.stage, action.attempt)
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": metadata(meta, ROUND.kind, action.name, marks),
        "spec": spec,
    }


def pool_spec(
    spec: FlywheelRoundSpec, status: FlywheelRoundStatus, stage: Stage, stages: Mapping[Stage, StageStatus]
) -> RolloutPoolSpec:
    """The pool of the base or of the candidate."""
    model = status.base_digest if stage is Stage.SERVE_BASE else graph.candidate(graph.digests_of(stages))
    if model is None:
        raise ValueError(f"{stage} was planned before its model is known")
    template = pool_template(spec)
    fields = {name: getattr(template, name) for name in type(template).model_fields}
    return RolloutPoolSpec(model=model, served_model_name=POLICY_MODEL, store=spec.store, **fields)


def rljob_spec(
    spec: FlywheelRoundSpec,
    status: FlywheelRoundStatus,
    stage: Stage,
    stages: Mapping[Stage, StageStatus],
    seen: RoundSeen,
) -> RLJobSpec:
    """The training of a track, from the checkpoint before it."""
    package = content.seen_package(seen)
    return content.training_of(stage, spec, status, graph.digests_of(stages), package)


def _why(status: FlywheelRoundStatus) -> str | None:
    """Why a round ends without a verdict, whole: its progress is cut to a column's width."""
    ready = find_condition(status.conditions, ConditionType.READY)
    return ready.message if status.verdict is Verdict.FAILED and ready is not None else None


def stage_config(
    config: OperatorConfig,
    meta: Meta,
    spec: FlywheelRoundSpec,
    status: FlywheelRoundStatus,
    seen: RoundSeen,
    action: Action,
) -> StageConfig:
    """What a CPU stage receives, and a training for the page. Inputs are digests of verified manifests."""
    stage = Stage(action.stage)
    stages = graph.stages_of(spec, status.stages)
    digests = graph.digests_of(stages)
    made = seen.content.get(stage)
    return StageConfig(
        stage=stage,
        owner=Owner(kind=ROUND.kind, namespace=meta.namespace, name=meta.name, uid=meta.uid),
        attempt=action.attempt,
        shards=1 if stage in graph.LAST else config.job.shards,  # a volume may be mounted by one pod at a time
        content_key=stages[stage].content_key or "",
        made_of=dict(made.made_of) if made is not None else {},
        spec=spec,
        inputs=graph.inputs_of(stage, digests),
        endpoints=endpoints(config, meta, spec, stages, stage),
        base_model=status.base_digest,
        candidate_model=graph.candidate(digests),
        champion=seen.champion if stage is Stage.GATE else None,
        number=content.number_in_campaign(spec, status),
        previous_rollouts=status.rollouts,
        previous_held=status.held_base is not None,
        earlier=status.earlier,
        endpoint_patience_seconds=config.job.endpoint_patience_seconds,
        timeline=list(stages.values()),
        attempts=status.attempts,
        failed=_why(status),
    )


def endpoints(
    config: OperatorConfig, meta: Meta, spec: FlywheelRoundSpec, stages: Mapping[Stage, StageStatus], stage: Stage
) -> list[ResolvedEndpoint]:
    """Endpoints of the roles that a stage asks; unset ones are played by the teacher, the policy by the pool."""
    teacher = graph.endpoint_of(spec, Role.TEACHER)
    found = []
    roles = _asked(spec) if stage is Stage.PREPARE else ROLES.get(stage, ())
    for role in roles:
        own = graph.endpoint_of(spec, role)
        if role is Role.POLICY:
            url, model = _policy(config, meta, spec, stages, stage)
            if url is None:
                continue
            own = own or Endpoint(role=Role.POLICY)
        else:
            own = own or teacher
            if own is None:
                continue
            url, model = _address(config, meta, own)
        found.append(_resolved(spec, role, own, url, model))
    return found


def _asked(spec: FlywheelRoundSpec) -> tuple[Role, ...]:
    """Roles that the round's stages will ask: Prepare shakes hands with each before anything is spent."""
    active = [roles for stage, roles in ROLES.items() if graph.applies(graph.BY_STAGE[stage], spec)]
    return tuple(role for role in Role if any(role in roles for roles in active))


def _policy(
    config: OperatorConfig, meta: Meta, spec: FlywheelRoundSpec, stages: Mapping[Stage, StageStatus], stage: Stage
) -> tuple[str | None, str]:
    pool = graph.BY_STAGE[stage].pool
    own = graph.endpoint_of(spec, Role.POLICY)
    if stage is Stage.PREPARE and own is not None and own.pool is None:
        return _address(config, meta, own)
    if pool is None:
        return None, POLICY_MODEL
    if pool is Stage.SERVE_BASE and own is not None and own.pool is None:
        return _address(config, meta, own)
    name = graph.child_of(meta, pool, stages[pool].attempt)
    return endpoint_url(name, meta.namespace, config.cluster_domain), POLICY_MODEL


def _address(config: OperatorConfig, meta: Meta, endpoint: Endpoint) -> tuple[str, str]:
    if endpoint.pool_ref is not None:
        return endpoint_url(endpoint.pool_ref, meta.namespace, config.cluster_domain), endpoint.model or POLICY_MODEL
    return endpoint.url or "", endpoint.model or ""


def _resolved(spec: FlywheelRoundSpec, role: Role, own: Endpoint, url: str, model: str) -> ResolvedEndpoint:
    return ResolvedEndpoint(
        role=role,
        url=url,
        model=model,
        temperature=float(own.sampling.temperature),
        top_p=float(own.sampling.top_p),
        written=(dict(NEUTRAL) if role is Role.POLICY and own.url is None else {}) | (own.extra_body or {}),
        headers=own.headers,
        max_tokens=own.sampling.max_tokens,
        concurrency=own.concurrency,
        requests_per_minute=own.requests_per_minute,
        timeout_seconds=time_out(spec, role, own),
        api_key_env=key_variable(own.role.value) if own.api_key is not None else None,
        dialect=own.dialect,
        token_limit=budget.token_limit(spec.budget, role.value),
    )
