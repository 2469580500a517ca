"""RolloutPool to a RayService per revision (weights and settings), behind one stable Service of the pool's name.

A served model is never changed in place: that hangs requests (35 s were seen). A new revision is a new RayService; the
stable Service moves to it when it answers, and only then the old one is deleted.
"""

from __future__ import annotations

import yaml

from flywheel_api.artifacts import Owner, fetch_key
from flywheel_api.canonical import canonical_json
from flywheel_api.names import LABEL_POOL, LABEL_WEIGHTS, short_hash, weights_label
from flywheel_api.pool import SERVE_PORT, RolloutPoolSpec, RolloutPoolStatus
from flywheel_api.resources import POOL
from flywheel_api.stages import POOL_CONFIG_ENV, PoolConfig
from flywheel_api.written import HASHES, hash_of, written
from flywheel_operator.model import Act, Action, Meta, Object, PoolSeen
from flywheel_operator.plan.retry import bad_nodes
from flywheel_operator.render.common import MODEL_DIR, config_env, labels, metadata
from flywheel_operator.render.raycluster import ClusterRequest, ray_cluster
from flywheel_operator.settings import OperatorConfig, RayShape

LABEL_REVISION = "flywheel.dev/revision"
IMPORT_PATH = "flywheel_jobs.rollout.app:build"


def revision(config: OperatorConfig, spec: RolloutPoolSpec, digest: str, avoid: tuple[str, ...] = ()) -> str:
    """`<version>-<what is served>-<what its pods are made of>`, of the operator's configuration: see `serves`.

    Nodes to `avoid` are of the last part as well: they make a new RayService where one is needed, and roll none.
    """
    served = {k: v for k, v in written(spec).items() if k not in ("model", "round", "startupTimeout")}
    rollout = config.flavour(spec.gpus_per_replica).rollout
    shape = rollout.model_dump(mode="json", exclude_defaults=True, exclude={"driver"})  # of no pod
    made_of = {"shape": shape, "ray": config.ray_version} | ({"avoid": sorted(avoid)} if avoid else {})
    return f"{hash_of({'digest': digest, 'spec': served}, 6)}-{short_hash(canonical_json(made_of).decode(), 4)}"


def serves(service: Object, wanted: str, digest: str, unchanged: bool) -> bool:
    """Whether a RayService serves what is wanted, whatever its pods were made of.

    An upgrade or a new configuration makes new pods only where they are needed. A revision of another release's making
    is judged by its weights, and by whether the pool's spec is `unchanged` since it was looked at last.
    """
    marks = service["metadata"].get("labels") or {}
    own = str(marks.get(LABEL_REVISION, ""))
    if own.startswith(f"{HASHES}-"):
        return own.rpartition("-")[0] == wanted.rpartition("-")[0]
    return unchanged and marks.get(LABEL_WEIGHTS) == weights_value(digest)


def child(
    config: OperatorConfig, meta: Meta, spec: RolloutPoolSpec, status: RolloutPoolStatus, seen: PoolSeen, action: Action
) -> Object:
    """The body of a CREATE (a revision's RayService) or an APPLY (the stable Service)."""
    digest = seen.digest or spec.model or ""
    if action.act is Act.APPLY:
        return stable_service(meta, digest, action.params["revision"])
    return ray_service(config, meta, spec, digest, action, bad_nodes(status.attempts))


def ray_service(
    config: OperatorConfig, meta: Meta, spec: RolloutPoolSpec, digest: str, action: Action, avoid: tuple[str, ...] = ()
) -> Object:
    """The RayService of a revision."""
    flavour = config.flavour(spec.gpus_per_replica)
    marks = labels(meta, POOL.kind, "rollout") | pod_labels(meta, digest, action.params["revision"])
    serve_config = pool_config(meta, spec, digest)
    request = ClusterRequest(
        model=digest,
        store=spec.store,
        template=spec.pod_template,
        head_template=spec.head_template,
        env=(config_env(POOL_CONFIG_ENV, serve_config),),
        labels=marks,
        workers=spec.replicas if spec.gpus_per_replica else 0,
        gpus_per_worker=spec.gpus_per_replica,
        serve_port=SERVE_PORT,
        avoid=avoid,
        token_auth=config.ray_service_token_auth,
        fetch_progress=fetch_progress(meta, action.params["revision"]),
    )
    application = {
        "name": "llm",
        "route_prefix": "/",
        "import_path": IMPORT_PATH,
        "args": serve_config.dump(),
    }
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": metadata(meta, POOL.kind, action.name, marks),
        "spec": {
            "serveConfigV2": yaml.safe_dump(
                _listening(flavour.rollout) | {"applications": [application]}, sort_keys=False
            ),
            "rayClusterConfig": ray_cluster(config, flavour, flavour.rollout, request),
        },
    }


def fetch_progress(meta: Meta, pool_revision: str) -> str:
    """Key under which the pods of a revision tell the bytes of its model that have come."""
    return fetch_key(meta.uid, f"serve-{pool_revision}", 1)


def _listening(shape: RayShape) -> Object:
    """Ray Serve listens on one family, IPv4 unless told: it follows the dashboard's."""
    host = shape.head_ray_start_params.get("dashboard-host", "")
    return {"http_options": {"host": host}} if ":" in host else {}


def pool_config(meta: Meta, spec: RolloutPoolSpec, digest: str) -> PoolConfig:
    """What the fetch and serve steps receive."""
    engine: Object = {**spec.engine.args, "max_model_len": spec.engine.max_model_len}
    if spec.engine.max_num_seqs is not None:
        engine["max_num_seqs"] = spec.engine.max_num_seqs
    return PoolConfig(
        owner=Owner(kind=POOL.kind, namespace=meta.namespace, name=meta.name, uid=meta.uid),
        model=digest,
        directory=MODEL_DIR,
        served_model_name=spec.served_model_name,
        replicas=spec.replicas,
        gpus_per_replica=spec.gpus_per_replica,
        engine=engine,
    )


def pod_labels(meta: Meta, digest: str, pool_revision: str) -> dict[str, str]:
    """What the stable Service selects by."""
    return {LABEL_POOL: meta.name, LABEL_WEIGHTS: weights_value(digest), LABEL_REVISION: pool_revision}


def weights_value(digest: str) -> str:
    """Label value of a digest; a hub id has none, so its hash stands in."""
    return weights_label(digest) if digest.startswith("sha256:") else f"hub-{short_hash(digest, 10)}"


def stable_service(meta: Meta, digest: str, pool_revision: str) -> Object:
    """The pool's Service: applied again when the revision changes, so that no replica on other weights gets traffic."""
    selector = pod_labels(meta, digest, pool_revision) | {"ray.io/serve": "true"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(meta, POOL.kind, meta.name, labels(meta, POOL.kind, "rollout")),
        "spec": {
            "type": "ClusterIP",
            "selector": selector,
            "ports": [{"name": "http", "port": SERVE_PORT, "targetPort": SERVE_PORT, "protocol": "TCP"}],
        },
    }
