"""Kubeconfig files with the certificates embedded, so that the file works alone and anywhere on the machine."""

from __future__ import annotations

import base64
import json
import os
import ssl
import tempfile
from pathlib import Path

from cluster.pki import Pki


def _data(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


def render(server: str, pki: Pki, user: str) -> str:
    """Kubeconfig text (JSON is YAML) for the pair `user` of the PKI against `server` (https://host:port)."""
    name = "flywheel"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": name, "cluster": {"server": server, "certificate-authority-data": _data(pki.cert("ca"))}}
        ],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": _data(pki.cert(user)), "client-key-data": _data(pki.key(user))},
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user, "namespace": "default"}}],
        "current-context": name,
    }
    return json.dumps(config, indent=1) + "\n"


def write(path: Path, server: str, pki: Pki, user: str) -> Path:
    """Write it with mode 0600 by rename: a reader never sees half a file."""
    partial = path.with_name(f".{path.name}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(render(server, pki, user))
    os.replace(partial, path)
    return path


def tls(kubeconfig: Path) -> tuple[str, ssl.SSLContext]:
    """(URL, context) of a kubeconfig that `render` made: JSON, certificates inside."""
    config = json.loads(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    with tempfile.NamedTemporaryFile() as pair:  # the ssl module takes key pairs from files only
        pair.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        pair.flush()
        context.load_cert_chain(pair.name)
    return str(cluster["server"]), context
