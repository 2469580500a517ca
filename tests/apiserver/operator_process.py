"""A real API server with our CRDs and KubeRay's, a real S3 server, and the operator as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cluster.addons import kuberay_manifests
from cluster.apiserver import ApiServer
from cluster.kube import KubeApi
from cluster.process import die_with_parent, free_ports, wait_for
from contract.forked import Forked
from contract.servers import ACCESS, BUCKET, SECRET, S3Server
from flywheel_api.crd import crd_yaml
from flywheel_api.resources import KINDS

ROOT = Path(__file__).parents[2]
Object = dict[str, Any]


def install_crds(api: ApiServer, kuberay: bool = True) -> None:
    """Our CRDs, and KubeRay's own from its pinned module."""
    for kind in KINDS:
        api.kubectl("apply", "--server-side", "-f", "-", stdin=crd_yaml(kind))
    if kuberay:
        install_kuberay(api)
        wait_for("KubeRay's resources", lambda: _served(api, "/apis/ray.io/v1", 3), 60)
    wait_for("our resources", lambda: _served(api, "/apis/flywheel.dev/v1alpha1", 3), 60)


def _served(api: ApiServer, path: str, kinds: int) -> bool:
    """Whether discovery lists that many kinds with a status."""
    found = KubeApi(api.kubeconfig).get(path) or {"resources": []}
    return sum(r["name"].endswith("/status") for r in found["resources"]) >= kinds


def install_kuberay(api: ApiServer) -> None:
    """KubeRay's CRDs, of the one version that we use: each further one, and an apply, cost the server seconds."""
    documents = kuberay_manifests(api.kube).read_text().split("\n---\n")
    crds = [text for text in documents if "\nkind: CustomResourceDefinition\n" in text]
    api.kubectl("create", "-f", "-", stdin="\n---\n".join(crds))


def store_secret(api: ApiServer, namespace: str, s3: S3Server) -> None:
    """The store's Secret as a user makes it."""
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "flywheel-s3", "namespace": namespace},
        "stringData": {"endpoint": s3.endpoint, "bucket": BUCKET, "accessKey": ACCESS, "secretKey": SECRET},
    }
    api.kubectl("apply", "-f", "-", stdin=json.dumps(body))


@dataclass
class OperatorProcess:
    """`python -m flywheel_operator`; kill it and start it again at will. `forked`: see contract.forked."""

    kubeconfig: Path
    folder: Path
    config: Object = field(default_factory=dict)
    forked: bool = False
    port: int = 0
    process: subprocess.Popen[bytes] | Forked | None = None

    @property
    def log(self) -> str:
        """Everything that it said, over all its lives."""
        path = self.folder / "operator.log"
        return path.read_text() if path.exists() else ""

    def start(self) -> None:
        """Returns when its probe answers."""
        self.port = free_ports(1)[0]
        file = self.folder / "config.yaml"
        file.write_text(yaml.safe_dump({**self.config, "httpPort": self.port}))
        env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        env |= {
            "KUBECONFIG": str(self.kubeconfig),
            "FLYWHEEL_CONFIG": str(file),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "operator"), str(ROOT / "jobs")]),
        }
        path = self.folder / "operator.log"
        if self.forked:
            self.process = Forked("flywheel_operator", environ=env, log=path)
        else:
            with path.open("ab") as log:
                command = [sys.executable, "-m", "flywheel_operator"]
                self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log, preexec_fn=die_with_parent)
        wait_for("the operator", self.alive, 60)

    def alive(self) -> bool:
        """Whether /readyz answers 200: what a rollout waits for."""
        if self.process is None or self.process.poll() is not None:
            raise AssertionError(f"the operator ended:\n{self.log[-3000:]}")
        return self.page("/readyz") is not None

    def page(self, path: str) -> str | None:
        """Text of an HTTP answer, None when there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return None

    def kill(self) -> None:
        """SIGKILL: nothing is said farewell to."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def rss_mib(self) -> float:
        """Resident memory."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no VmRSS")


@contextmanager
def operating(
    kubeconfig: Path, folder: Path, config: Object | None = None, forked: bool = False
) -> Iterator[OperatorProcess]:
    """The operator for the length of a block."""
    operator = OperatorProcess(kubeconfig, folder, config or {}, forked)
    operator.start()
    try:
        yield operator
    finally:
        operator.kill()
