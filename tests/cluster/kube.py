"""A Kubernetes cluster as the local tools see it: kubectl by subprocess, a GET for frequent looks, conditions."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from cluster.process import loopback_env

Json = dict[str, Any]
_APPLY = ("apply", "--server-side", "--force-conflicts", "--field-manager=flywheel-demo")


@dataclass(frozen=True)
class Kubectl:
    """kubectl against one cluster."""

    binary: Path
    kubeconfig: Path
    cache: Path | None = None  # kubectl's own discovery cache; None: where it has it by default

    @property
    def line(self) -> str:
        """What a person types to look around: the start of a command line that works from any folder."""
        return f"{self.binary} --kubeconfig {self.kubeconfig}"

    def command(self, *args: str) -> list[str]:
        """A whole command line."""
        cache = [f"--cache-dir={self.cache}"] if self.cache else []
        return [str(self.binary), f"--kubeconfig={self.kubeconfig}", *cache, *args]

    def try_run(self, *args: str, stdin: str | None = None, timeout_s: float = 120) -> tuple[int, str, str]:
        """Status, stdout and stderr of a call; status 124 when it took longer than `timeout_s`. No proxy is used."""
        try:
            done = subprocess.run(
                self.command(*args),
                input=stdin,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=timeout_s,
                env=loopback_env(),
            )
        except subprocess.TimeoutExpired:
            return 124, "", f"no answer in {timeout_s:.0f} s"
        return done.returncode, done.stdout, done.stderr

    def run(self, *args: str, stdin: str | None = None, timeout_s: float = 120) -> str:
        """stdout of a call. Raises ClusterError with kubectl's own words."""
        code, out, err = self.try_run(*args, stdin=stdin, timeout_s=timeout_s)
        if code:
            raise ClusterError(f"kubectl {' '.join(args)} failed: {err.strip() or out.strip()}")
        return out

    def get(self, kind: str, name: str, namespace: str | None = None) -> Json | None:
        """An object, None when it does not exist. Raises ClusterError for any other failure."""
        out = self.run(*_scope(namespace), "get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(out) if out.strip() else None

    def list(self, kind: str, namespace: str, selector: str = "") -> list[Json]:
        """Objects of a kind in a namespace."""
        more = ["-l", selector] if selector else []
        return list(json.loads(self.run("-n", namespace, "get", kind, "-o", "json", *more))["items"])

    def apply(self, objects: Sequence[Mapping[str, Any]]) -> str:
        """Server-side apply of objects; what kubectl says about each."""
        return self.run(*_APPLY, "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def apply_text(self, manifest: str) -> str:
        """Server-side apply of a manifest of ours, not validated: that would read the whole OpenAPI schema first."""
        return self.run(*_APPLY, "--validate=false", "-f", "-", stdin=manifest, timeout_s=300)

    def delete(self, kind: str, name: str, namespace: str | None = None) -> None:
        """Deletes an object and waits until it is gone, for 3 minutes; a missing one is no error."""
        options = ("--ignore-not-found", "--wait=true", "--timeout=180s")
        self.run(*_scope(namespace), "delete", kind, name, *options, timeout_s=210)

    def wait(self, kind: str, name: str, namespace: str, state: str, timeout_s: float) -> None:
        """Wait for a condition of an existing object; ClusterError with its pods' description after `timeout_s`."""
        awaited = (f"{kind}/{name}", f"--for=condition={state}", f"--timeout={timeout_s:.0f}s")
        code, _, err = self.try_run("-n", namespace, "wait", *awaited, timeout_s=timeout_s + 30)
        if code:
            pods = self.try_run("-n", namespace, "describe", "pods")[1]
            raise ClusterError(f"{namespace}/{name} was not {state}: {err.strip()}\n{pods[-3000:]}")


def _scope(namespace: str | None) -> list[str]:
    return ["-n", namespace] if namespace else []


class KubeApi:
    """GET without a process for each: for waits that look several times a second."""

    def __init__(self, kubeconfig: Path) -> None:
        """`kubeconfig`: one of ours, or another as JSON with embedded certificates. Raises OSError or KeyError."""
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.url: str = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as pair:  # the ssl module takes key pairs from files only
            pair.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
            pair.flush()
            self._context.load_cert_chain(pair.name)

    def text(self, path: str) -> str | None:
        """Body of a path; None when it does not exist or nobody answers."""
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._context))
        try:
            with urllib.request.build_opener(*handlers).open(self.url + path, timeout=10) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            return None

    def get(self, path: str) -> Json | None:
        """An object; None when it does not exist or nobody answers."""
        body = self.text(path)
        return None if body is None else json.loads(body)

    def ready(self) -> bool:
        """Whether the API server says that it is."""
        return self.text("/readyz") == "ok"


def condition(resource: Mapping[str, Any] | None, kind: str) -> Json:
    """A condition of an object; empty when it has not been written."""
    found = (resource or {}).get("status", {}).get("conditions") or []
    return next((c for c in found if c.get("type") == kind), {})


def is_true(resource: Mapping[str, Any] | None, kind: str) -> bool:
    """Whether an object has that condition with status True."""
    return bool(condition(resource, kind).get("status") == "True")
