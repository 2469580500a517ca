"""RLJob to one RayJob per attempt. The shape was run: HTTPMode, token auth, no KubeRay retries, not suspended by us.

No `preRunningDeadlineSeconds`: KubeRay counts it while a queue holds the pods back. Our own limit knows the difference.
"""

from __future__ import annotations

from flywheel_api.artifacts import Owner, fetch_key
from flywheel_api.bounds import quantity
from flywheel_api.names import RAYJOB_NAME_LIMIT
from flywheel_api.resources import RLJOB
from flywheel_api.rljob import RLJobSpec
from flywheel_api.rljob_status import RLJobStatus
from flywheel_api.stages import STAGE_CONFIG_ENV, TRAIN_CONFIG_ENV, TRAIN_STAGE, TrainConfig
from flywheel_api.tracking import TRACKER_KEY_ENV
from flywheel_operator.model import Action, Meta, Object, RLJobSeen
from flywheel_operator.plan.retry import bad_nodes
from flywheel_operator.render.common import config_env, from_secret, labels, literal, metadata
from flywheel_operator.render.raycluster import ClusterRequest, ray_cluster
from flywheel_operator.settings import OperatorConfig

ENTRYPOINT = "python -m flywheel_jobs train"
_AROUND = 60  # seconds beside the upload: verl writes the checkpoint before, its manifest is committed after


def ray_job(
    config: OperatorConfig, meta: Meta, spec: RLJobSpec, status: RLJobStatus, seen: RLJobSeen, action: Action
) -> Object:
    """The RayJob of an attempt. The init container fetches the model: a digest, s3:// or hf://."""
    if len(action.name) > RAYJOB_NAME_LIMIT:
        raise ValueError(f"{action.name!r} is longer than the {RAYJOB_NAME_LIMIT} characters that KubeRay takes")
    flavour = config.flavour(spec.gpus_per_node)
    marks = labels(meta, RLJOB.kind, "trainer", TRAIN_STAGE, action.attempt)
    request = ClusterRequest(
        model=seen.model or spec.model,
        store=spec.store,
        template=spec.pod_template,
        head_template=spec.head_template,
        env=(config_env(TRAIN_CONFIG_ENV, train_config(config, meta, spec, status, seen, action.attempt)),),
        head_env=(*_tracker_key(spec), *_page(meta)),
        labels=marks,
        workers=spec.nodes if spec.gpus_per_node else 0,
        avoid=bad_nodes(status.attempts),
        gpus_per_worker=spec.gpus_per_node,
        fetch_progress=fetch_key(meta.uid, TRAIN_STAGE, action.attempt),
        grace=grace_seconds(config, spec, seen),
        uploads=True,
    )
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": metadata(meta, RLJOB.kind, action.name, marks),
        "spec": {
            "entrypoint": ENTRYPOINT,
            "submissionMode": "HTTPMode",
            "backoffLimit": 0,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": config.ttl_seconds_after_finished,
            "activeDeadlineSeconds": int(action.params.get("activeDeadlineSeconds", 365 * 24 * 3600)),
            "rayClusterSpec": ray_cluster(config, flavour, flavour.trainer, request),
        },
    }


def _tracker_key(spec: RLJobSpec) -> tuple[Object, ...]:
    """The tracker's key: the driver tells it, whose process is on the head."""
    key = spec.tracking.api_key if spec.tracking else None
    return () if key is None else (from_secret(TRACKER_KEY_ENV, key),)


def _page(meta: Meta) -> tuple[Object, ...]:
    """What the driver draws its round's page with."""
    return ({"name": STAGE_CONFIG_ENV, "value": literal(meta.page)},) if meta.page else ()


def grace_seconds(config: OperatorConfig, spec: RLJobSpec, seen: RLJobSeen) -> int:
    """Time for a node's part of the last checkpoint at the rate that is sure.

    Pods that have nothing to write go at once. A cluster may cut it short: spot nodes give 30 to 120 seconds.
    """
    if seen.checkpoint_bytes is None:
        return config.upload_grace_seconds
    return _AROUND + int(seen.checkpoint_bytes / spec.nodes / float(quantity(config.upload_floor)))


def train_config(
    config: OperatorConfig, meta: Meta, spec: RLJobSpec, status: RLJobStatus, seen: RLJobSeen, attempt: int
) -> TrainConfig:
    """What the entry point receives; the hardware's verl keys lie under the job's own."""
    own = spec.model_copy(update={"overrides": config.flavour(spec.gpus_per_node).overrides | spec.overrides})
    return TrainConfig(
        owner=Owner(kind=RLJOB.kind, namespace=meta.namespace, name=meta.name, uid=meta.uid),
        attempt=attempt,
        content_key=status.content_key or "",
        made_of=dict(seen.content.made_of) if seen.content else {},
        spec=own,
        model=seen.model or spec.model,
        ray_version=config.ray_version,
        grace_seconds=grace_seconds(config, spec, seen),
    )
