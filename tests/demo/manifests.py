"""Kubernetes objects that the demo adds to what the chart installs: credentials, bucket, base model, stand-in."""

from __future__ import annotations

from typing import Any

from demo.settings import BASE_MODEL, STORE_SECRET

Object = dict[str, Any]
PART_OF = {"app.kubernetes.io/part-of": "flywheel-demo"}
USER = 10001  # the user of all our images
STANDIN_PORT = 8000
# key of the store Secret -> environment variable, as flywheel_api.stages.STORE_ENV; required keys only
STORE_ENV = {
    "endpoint": "FLYWHEEL_S3_ENDPOINT",
    "bucket": "FLYWHEEL_S3_BUCKET",
    "accessKey": "FLYWHEEL_S3_ACCESS_KEY",
    "secretKey": "FLYWHEEL_S3_SECRET_KEY",
}
OPTIONAL_STORE_ENV = {
    "region": "FLYWHEEL_S3_REGION",
    "prefix": "FLYWHEEL_S3_PREFIX",
    "secure": "FLYWHEEL_S3_SECURE",
    "caBundle": "FLYWHEEL_S3_CA_BUNDLE",
}
# says whether the base model is in the store; with the argument `make`, creates the bucket if it is not there
LOOK = """
import sys
from flywheel_jobs.storage.store import Store
store = Store.from_env()
if "make" in sys.argv and not store.bucket.exists():
    store.bucket._client.make_bucket(store.settings.bucket)
found = store.get_bytes(sys.argv[1])
print("MODEL PRESENT" if found else "MODEL ABSENT")
"""
# prints a file of the store, base64 in short lines, between marks: logs are the way out of any cluster
PRINT_KEY = """
import base64, sys
from flywheel_jobs.storage.store import Store
store = Store.from_env()
uri = sys.argv[1]
data = store.get_bytes(uri)
if data is None:
    sys.exit(f"{uri} does not exist")
text = base64.b64encode(data).decode()
print("BEGIN")
for at in range(0, len(text), 4000):
    print(text[at:at + 4000])
print("END")
"""


def namespace(name: str) -> Object:
    """A namespace whose pods must meet Pod Security `restricted`."""
    prefix = "pod-security.kubernetes.io"
    labels = {f"{prefix}/enforce": "restricted", f"{prefix}/enforce-version": "latest"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def secret(name: str, space: str, data: dict[str, str]) -> Object:
    """An opaque Secret."""
    metadata = {"name": name, "namespace": space, "labels": PART_OF}
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "stringData": data}


def _pod(container: Object, *, shared_memory: bool = False, pull_secrets: list[str] | None = None) -> Object:
    mounts = {"tmp": "/tmp", "home": "/home/flywheel", "models": "/models"}
    volumes: list[Object] = [{"name": name, "emptyDir": {}} for name in mounts]
    if shared_memory:
        mounts["shm"] = "/dev/shm"
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}})
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "imagePullSecrets": [{"name": name} for name in pull_secrets or []],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "imagePullPolicy": "IfNotPresent",
                "volumeMounts": [{"name": name, "mountPath": path} for name, path in mounts.items()],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                **container,
            }
        ],
        "volumes": volumes,
    }


def store_env(secret_name: str = STORE_SECRET) -> list[Object]:
    """Environment of a container that uses the store."""

    def entry(key: str, variable: str, optional: bool) -> Object:
        ref = {"name": secret_name, "key": key} | ({"optional": True} if optional else {})
        return {"name": variable, "valueFrom": {"secretKeyRef": ref}}

    required = [entry(key, variable, False) for key, variable in STORE_ENV.items()]
    return required + [entry(key, variable, True) for key, variable in OPTIONAL_STORE_ENV.items()]


def job(name: str, space: str, image: str, arguments: list[str], memory: str = "1Gi") -> Object:
    """A Job that runs `python <arguments>` once in one of our images, with the store's environment."""
    container = {
        "name": "main",
        "image": image,
        "command": ["python", *arguments],
        "env": [*store_env(), {"name": "HOME", "value": "/home/flywheel"}, {"name": "OMP_NUM_THREADS", "value": "2"}],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": memory}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    template = {"metadata": {"labels": PART_OF}, "spec": {"restartPolicy": "Never", **_pod(container)}}
    spec = {"backoffLimit": 2, "ttlSecondsAfterFinished": 3600, "template": template}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": space, "labels": PART_OF},
        "spec": spec,
    }


def look_job(space: str, image: str, make_bucket: bool) -> Object:
    """Looks into the store for the base model, and makes the demo's own bucket."""
    arguments = ["-c", LOOK, f"models/{BASE_MODEL}/manifest.json", *(["make"] if make_bucket else [])]
    return job("look-into-store", space, image, arguments)


def import_job(space: str, image: str) -> Object:
    """Converts the model that a Python package of the image carries, and commits it to the store."""
    return job(f"import-{BASE_MODEL}", space, image, ["-m", "flywheel_jobs", "import-model"], memory="6Gi")


def standin(space: str, image: str) -> list[Object]:
    """The scripted server behind the teacher, solver, user and judge roles, as a Deployment and a Service."""
    labels = {"app.kubernetes.io/name": "standin", **PART_OF}
    container = {
        "name": "standin",
        "image": image,
        "command": ["python", "-m", "flywheel_standin"],
        "ports": [{"name": "http", "containerPort": STANDIN_PORT}],
        "readinessProbe": {
            "httpGet": {"path": "/v1/models", "port": "http"},
            "periodSeconds": 1,
            "timeoutSeconds": 10,
            "failureThreshold": 60,
        },
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
    }
    selector = {"app.kubernetes.io/name": "standin"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "standin", "namespace": space, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": selector},
            "strategy": {"type": "Recreate"},
            "template": {"metadata": {"labels": labels}, "spec": _pod(container)},
        },
    }
    ports = [{"name": "http", "port": STANDIN_PORT, "targetPort": "http"}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "standin", "namespace": space, "labels": labels},
        "spec": {"selector": selector, "ports": ports},
    }
    return [deployment, service]
