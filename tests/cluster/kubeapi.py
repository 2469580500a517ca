"""The little of a Kubernetes client that waiting needs: GET with the certificates of a kubeconfig of ours."""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


class KubeApi:
    """Reads objects through the admin kubeconfig that `cluster up` writes."""

    def __init__(self, kubeconfig: Path) -> None:
        """Raises OSError/KeyError when the file is absent or not one of ours."""
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.url: str = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as pair:  # the ssl module takes key pairs from files only
            pair.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
            pair.flush()
            self._context.load_cert_chain(pair.name)

    def get(self, path: str, timeout_s: float = 10) -> Any:
        """Parsed JSON of a path; None when it does not exist or nobody answers."""
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._context))
        try:
            with urllib.request.build_opener(*handlers).open(self.url + path, timeout=timeout_s) as answer:
                body = answer.read()
        except (urllib.error.URLError, OSError):
            return None
        try:
            return json.loads(body)
        except ValueError:
            return body.decode(errors="replace")


def condition(resource: Any, kind: str) -> bool:
    """Whether status.conditions of an object says True for a type."""
    conditions = ((resource or {}).get("status") or {}).get("conditions") or []
    return any(c.get("type") == kind and c.get("status") == "True" for c in conditions)
