"""Where the API server is and who we are: a kubeconfig file or the pod's service account."""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from flywheel_operator.ports.errors import Terminal

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True)
class Access:
    """Address, TLS and token. A token file is read again at every use, because kubelet rotates it."""

    server: str
    ssl_context: ssl.SSLContext | None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None

    def headers(self) -> dict[str, str]:
        """Authorization, if a token is used at all."""
        token = self.token_file.read_text().strip() if self.token_file else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}


def find_access() -> Access:
    """$KUBECONFIG, else the service account, else ~/.kube/config. Raises Terminal with the fix when there is none."""
    named = os.environ.get("KUBECONFIG")
    if named:
        return from_kubeconfig(Path(named.split(os.pathsep)[0]))
    if (SERVICE_ACCOUNT / "token").exists():
        return from_service_account()
    default = Path.home() / ".kube" / "config"
    if default.exists():
        return from_kubeconfig(default)
    raise Terminal("no cluster: set KUBECONFIG or run in a pod with a service account token")


def from_service_account(folder: Path = SERVICE_ACCOUNT) -> Access:
    """Access of a pod."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    host = f"[{host}]" if ":" in host else host
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    return Access(f"https://{host}:{port}", context, token_file=folder / "token")


def from_kubeconfig(path: Path) -> Access:
    """Access of the current context: certificates or a token; exec plugins are not supported."""
    config = yaml.safe_load(path.read_text())
    context = _named(config, "contexts", config["current-context"])["context"]
    cluster = _named(config, "clusters", context["cluster"])["cluster"]
    user = _named(config, "users", context["user"])["user"]
    if "exec" in user:
        raise Terminal(f"{path}: exec credentials are not supported; use a token or a client certificate")
    tls = _tls(cluster, user, path.parent) if cluster["server"].startswith("https") else None
    token_file = Path(user["tokenFile"]) if "tokenFile" in user else None
    return Access(cluster["server"].rstrip("/"), tls, user.get("token"), token_file)


def _named(config: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    for entry in config.get(section) or []:
        if entry["name"] == name:
            return dict(entry)
    raise Terminal(f"kubeconfig has no {name!r} among its {section}")


def _tls(cluster: dict[str, Any], user: dict[str, Any], folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif "certificate-authority-data" in cluster:
        context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    elif "certificate-authority" in cluster:
        context = ssl.create_default_context(cafile=str(folder / cluster["certificate-authority"]))
    if "client-certificate-data" in user:
        _load_pair(context, user)
    elif "client-certificate" in user:
        context.load_cert_chain(folder / user["client-certificate"], folder / user["client-key"])
    return context


def _load_pair(context: ssl.SSLContext, user: dict[str, Any]) -> None:
    """OpenSSL takes a pair from files only: they live for the length of this call, readable by us alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, key in (("crt", "client-certificate-data"), ("key", "client-key-data")):
            target = folder / file
            target.touch(mode=0o600)
            target.write_bytes(base64.b64decode(user[key]))
        context.load_cert_chain(folder / "crt", folder / "key")
