"""The running demo cluster (`make demo` first), or a skip that says so."""

from __future__ import annotations

import pytest

from cluster import node
from cluster.kube import Kubectl
from demo.settings import NAMESPACE


@pytest.fixture(scope="session")
def kube() -> Kubectl:
    """kubectl of the demo's cluster."""
    found = node.kubectl()
    if not found.kubeconfig.is_file():
        pytest.skip("no local cluster: run `make demo` first, its cluster stays up")
    code, _, err = found.try_run("get", "namespace", NAMESPACE, timeout_s=20)
    if code:
        pytest.skip(f"the demo's cluster does not answer: {err.strip()}; run `make demo` first")
    return found
