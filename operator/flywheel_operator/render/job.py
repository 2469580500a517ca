"""A CPU stage as an Indexed Job: one attempt, no restarts of its own, retries are ours."""

from __future__ import annotations

from flywheel_api.content import ROLES
from flywheel_api.resources import ROUND
from flywheel_api.round import Endpoint
from flywheel_api.round_base import HubSpec
from flywheel_api.round_export import HubTarget
from flywheel_api.stages import (
    API_KEY_ENV_PREFIX,
    EXPORT_DIR,
    HUB_TOKEN_ENV,
    IMAGE_ENV,
    STAGE_CONFIG_ENV,
    Stage,
    StageConfig,
)
from flywheel_operator.model import Action, Meta, Object
from flywheel_operator.render.common import config_env, from_secret, labels, metadata, store_env
from flywheel_operator.render.pod import PodRole, pod_metadata, pod_spec, sizes
from flywheel_operator.settings import OperatorConfig

HOME = "/home/flywheel"
EXPORT_VOLUME = "export"  # no volume of a template may be called so


def stage_job(config: OperatorConfig, meta: Meta, stage: StageConfig, action: Action) -> Object:
    """The Job of a stage's attempt."""
    marks = labels(meta, ROUND.kind, "stage", action.stage, action.attempt)
    shape, template, target = config.job, stage.spec.job_template, _target(stage)
    role = PodRole.of(shape.pod, shape.env, template, HOME)
    image = (template.image if template is not None else None) or shape.image
    container: Object = {
        "name": "stage",
        "image": image,
        "imagePullPolicy": config.image_pull_policy,
        "command": ["python", "-m", "flywheel_jobs", "stage"],
        **role.environment(
            {"HOME": HOME, IMAGE_ENV: image},
            config_env(STAGE_CONFIG_ENV, stage),
            *store_env(stage.spec.store),
            *_keys(stage),
        ),
        "resources": sizes(shape.resources, template),
        "securityContext": role.security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*role.mounts(), *({"name": EXPORT_VOLUME, "mountPath": EXPORT_DIR} for _ in target)],
    }
    pod = pod_spec(config, role, marks, [container])
    pod["volumes"] += target
    pod["restartPolicy"] = "Never"
    pod["terminationGracePeriodSeconds"] = 30
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(meta, ROUND.kind, action.name, marks),
        "spec": {
            "completionMode": "Indexed",
            "completions": stage.shards,
            "parallelism": stage.shards,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "template": {"metadata": pod_metadata(role.shape, marks), "spec": pod},
        },
    }


def _keys(stage: StageConfig) -> list[Object]:
    """Keys that the stage's pod needs, and no others: what asks nobody gets none."""
    spec, hub = stage.spec, stage.spec.export.hub if stage.spec.export is not None else None
    if stage.stage is Stage.IMPORT_MODEL:
        return hub_token(spec.base.hub)
    if stage.stage is Stage.EXPORT:
        return hub_token(hub)
    asks = stage.stage is Stage.PREPARE or stage.stage in ROLES
    keys = api_keys(spec.endpoints) if asks else []
    return [*keys, *hub_token(hub)] if stage.stage is Stage.PREPARE else keys  # Prepare asks whether it may write


def _target(stage: StageConfig) -> list[Object]:
    """The volume that a promoted model goes to."""
    export = stage.spec.export
    if stage.stage is not Stage.EXPORT or export is None or export.claim is None:
        return []
    return [{"name": EXPORT_VOLUME, "persistentVolumeClaim": {"claimName": export.claim.name}}]


def api_keys(endpoints: list[Endpoint]) -> list[Object]:
    """Endpoint keys, each from its own Secret."""
    return [from_secret(key_variable(e.role.value), e.api_key) for e in endpoints if e.api_key is not None]


def hub_token(hub: HubSpec | HubTarget | None) -> list[Object]:
    """The token for a hub: only pods that ask it get one."""
    token = hub.token if hub is not None else None
    return [] if token is None else [from_secret(HUB_TOKEN_ENV, token)]


def key_variable(role: str) -> str:
    """Environment variable of a role's API key."""
    return API_KEY_ENV_PREFIX + role.upper()
