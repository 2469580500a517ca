"""Kubernetes objects that the demo adds to what the chart installs: credentials, bucket, base model, stand-in."""

from __future__ import annotations

from typing import Any

from demo.settings import BASE_MODEL, STORE_SECRET

Object = dict[str, Any]
PART_OF = {"app.kubernetes.io/part-of": "flywheel-demo"}
USER = 10001  # the user of all our images
STANDIN_PORT = 8000
CHECK_STORE_JOB, IMPORT_JOB, DOMAIN_JOB = "check-store", f"import-{BASE_MODEL}", "put-domain"
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
CHECK_STORE = """
import os, sys
from flywheel_store.bucket import S3Bucket
from flywheel_store.settings import from_env
settings = from_env(os.environ)
bucket = S3Bucket(settings)
if "make" in sys.argv and not bucket.exists():
    bucket._wire.send("PUT", settings.bucket)
print("MODEL PRESENT" if bucket.get(sys.argv[1]) else "MODEL ABSENT")
"""
# puts a packed domain into the store and says where it lies
PUT_DOMAIN = """
import base64, os, sys
from flywheel_store.bucket import S3Bucket
from flywheel_store.settings import from_env
settings = from_env(os.environ)
S3Bucket(settings).put(sys.argv[1], base64.b64decode(os.environ["DOMAIN"]), "application/gzip")
print("DOMAIN AT", settings.uri(sys.argv[1]))
"""
# prints a file of the store, base64 in short lines, between marks: logs are the way out of any cluster
PRINT_FILE = """
import base64, os, sys
from flywheel_store.bucket import S3Bucket
from flywheel_store.settings import from_env
data = S3Bucket(from_env(os.environ)).get(sys.argv[1])
if data is None:
    sys.exit(f"{sys.argv[1]} does not exist")
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


def _pod(container: Object) -> Object:
    mounts = {"tmp": "/tmp", "home": "/home/flywheel", "models": "/models"}
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
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
        "volumes": [{"name": name, "emptyDir": {}} for name in mounts],
    }


def store_env() -> list[Object]:
    """Environment of a container that uses the store."""

    def entry(key: str, variable: str, optional: bool) -> Object:
        ref = {"name": STORE_SECRET, "key": key} | ({"optional": True} if optional else {})
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


def check_store_job(space: str, image: str, make_bucket: bool) -> Object:
    """Says whether the base model is in the store, and makes the demo's own bucket."""
    arguments = ["-c", CHECK_STORE, f"models/{BASE_MODEL}/manifest.json", *(["make"] if make_bucket else [])]
    return job(CHECK_STORE_JOB, space, image, arguments)


def import_job(space: str, image: str) -> Object:
    """Converts the model that a Python package of the image carries, and commits it to the store."""
    return job(IMPORT_JOB, space, image, ["-m", "flywheel_jobs", "import-model"], memory="6Gi")


def domain_job(space: str, image: str, key: str, packed: str) -> Object:
    """Puts a domain of the user's into the store."""
    made = job(DOMAIN_JOB, space, image, ["-c", PUT_DOMAIN, key])
    made["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "DOMAIN", "value": packed})
    return made


def standin(space: str, image: str, weather: str = "") -> list[Object]:
    """The scripted server behind the teacher, solver, user and judge roles, as a Deployment and a Service."""
    told = {"name": "FLYWHEEL_STANDIN_WEATHER", "value": weather}
    return server("standin", space, image, ["python", "-m", "flywheel_standin"], [told], "/v1/models", "512Mi")


def server(
    name: str, space: str, image: str, command: list[str], env: list[Object], ready: str, memory: str
) -> list[Object]:
    """A server of one pod that knows the store: a Deployment, and a Service of the same name at STANDIN_PORT.

    `ready`: path that answers once it serves.
    """
    labels = {"app.kubernetes.io/name": name, **PART_OF}
    container = {
        "name": name,
        "image": image,
        "command": command,
        "env": [*store_env(), *env],  # packages and models lie in the store
        "ports": [{"name": "http", "containerPort": STANDIN_PORT}],
        "readinessProbe": {
            "httpGet": {"path": ready, "port": "http"},
            "periodSeconds": 1,
            "timeoutSeconds": 10,
            "failureThreshold": 60,
        },
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": memory}},
    }
    selector = {"app.kubernetes.io/name": name}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": space, "labels": labels},
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
        "metadata": {"name": name, "namespace": space, "labels": labels},
        "spec": {"selector": selector, "ports": ports},
    }
    return [deployment, service]
