"""etcd + kube-apiserver on loopback: a real API server for tests, without root, up in a few seconds.

RBAC is on, CRDs, CEL, server-side apply and watches are the real ones. There is no kubelet and no scheduler: pods stay
Pending. Garbage collection, Jobs and Deployments need `controller_manager=True`.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from cluster import kubeconfig, needs
from cluster.build import ensure
from cluster.errors import ClusterError
from cluster.kube import KubeApi, Kubectl
from cluster.paths import cache_dir
from cluster.pki import Pki
from cluster.process import free_ports, log_tail, spawn, wait_for

_START_TIMEOUT_S = 90  # 3 s alone; a loaded 2-core machine has been seen to take 10 times as long
_ATTEMPTS = 3  # a port found free may be taken by another process before it is used
_SERVICE_RANGE = "10.97.0.0/16"


class ApiServer:
    """A running API server. Use it as a context manager, or call stop(); it also dies with the calling thread."""

    def __init__(self, workdir: Path, *, controller_manager: bool = False) -> None:
        """Start it in `workdir` (made if absent; etcd's data in it is replaced). Raises ClusterError."""
        self.workdir = workdir
        self.kubeconfig = workdir / "kubeconfig"
        self.url = ""
        self._controller_manager = controller_manager
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []
        needs.for_apiserver()
        names = ["etcd", "kube-apiserver", "kubectl"] + (["kube-controller-manager"] if controller_manager else [])
        self._bin = ensure(*names)
        self.kube = Kubectl(self._bin["kubectl"], self.kubeconfig, workdir / "kubectl")
        self._start_with_retries()

    def _start_with_retries(self) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                return self._start()
            except ClusterError:
                self.stop()
                if attempt == _ATTEMPTS - 1 or "address already in use" not in self._logs():
                    raise
            except BaseException:
                self.stop()
                raise

    def _logs(self) -> str:
        return "\n".join(log_tail(self.workdir / "log", name, 40) for name in ("etcd", "kube-apiserver"))

    def _start(self) -> None:
        shutil.rmtree(self.workdir / "etcd", ignore_errors=True)
        shutil.rmtree(self.workdir / "log", ignore_errors=True)
        pki = Pki.create(self.workdir / "pki")
        pki.issue("apiserver", "kube-apiserver", sans=("127.0.0.1", "localhost", "kubernetes.default.svc", "10.97.0.1"))
        pki.issue("admin", "admin", "system:masters")
        client, peer, secure = free_ports(3)
        self.url = f"https://127.0.0.1:{secure}"
        self._spawn("etcd", self._etcd_args(client, peer))
        self._spawn("kube-apiserver", self._apiserver_args(pki, client, secure))
        kubeconfig.write(self.kubeconfig, self.url, pki, "admin")
        api = KubeApi(self.kubeconfig)
        wait_for("the API server", lambda: self._alive() and api.ready(), _START_TIMEOUT_S)
        if self._controller_manager:
            self._spawn("kube-controller-manager", self._manager_args(pki))
            account = "/api/v1/namespaces/default/serviceaccounts/default"  # pods are refused without it
            wait_for("the controller manager", lambda: self._alive() and api.get(account) is not None, _START_TIMEOUT_S)

    def _spawn(self, name: str, args: Sequence[str]) -> None:
        self._processes.append((name, spawn(name, [str(self._bin[name]), *args], self.workdir / "log", self.workdir)))

    def _etcd_args(self, client: int, peer: int) -> list[str]:
        url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        return [
            f"--data-dir={self.workdir / 'etcd'}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=default={peer_url}",
            "--unsafe-no-fsync",  # the data does not outlive the test
            "--log-level=warn",
        ]

    def _apiserver_args(self, pki: Pki, etcd_port: int, secure: int) -> list[str]:
        # Without a controller manager no ServiceAccount `default` appears, and its admission would refuse every pod.
        admission = [] if self._controller_manager else ["--disable-admission-plugins=ServiceAccount"]
        return [
            f"--etcd-servers=http://127.0.0.1:{etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={secure}",
            f"--tls-cert-file={pki.cert('apiserver')}",
            f"--tls-private-key-file={pki.key('apiserver')}",
            f"--client-ca-file={pki.cert('ca')}",
            "--authorization-mode=RBAC",
            f"--service-cluster-ip-range={_SERVICE_RANGE}",
            f"--service-account-key-file={pki.key('sa')}",
            f"--service-account-signing-key-file={pki.key('sa')}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--endpoint-reconciler-type=none",  # 127.0.0.1 is no valid endpoint address
            *admission,
        ]

    def _manager_args(self, pki: Pki) -> list[str]:
        return [
            f"--kubeconfig={self.kubeconfig}",
            f"--service-account-private-key-file={pki.key('sa')}",
            f"--root-ca-file={pki.cert('ca')}",
            "--leader-elect=false",
            "--secure-port=0",  # no port of its own
        ]

    def _alive(self) -> bool:
        """True, or ClusterError with the log of a process that has ended."""
        for name, process in self._processes:
            if process.poll() is not None:
                tail = log_tail(self.workdir / "log", name)
                raise ClusterError(f"{name} ended with status {process.returncode} while starting:\n{tail}")
        return True

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        """Run kubectl as cluster admin; its stdout. Raises ClusterError with its stderr when it fails."""
        return self.kube.run(*args, stdin=stdin)

    def stop(self) -> None:
        """Kill everything at once (nothing in it is worth a graceful end); safe to call again."""
        for _, process in reversed(self._processes):
            process.kill()
        for _, process in self._processes:
            process.wait()
        self._processes.clear()

    def __enter__(self) -> ApiServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_apiserver(workdir: Path | None = None, *, controller_manager: bool = False) -> ApiServer:
    """Start an API server in `workdir` (default: $FLYWHEEL_CACHE/apiserver) and return when /readyz answers."""
    return ApiServer(workdir or cache_dir() / "apiserver", controller_manager=controller_manager)
