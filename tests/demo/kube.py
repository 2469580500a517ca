"""kubectl by subprocess: the binary of the local cluster, or the user's own."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.errors import DemoError
from demo.shell import capture

Json = dict[str, Any]


@dataclass(frozen=True)
class Kubectl:
    """One cluster. `line` is what a person types to look around in it."""

    binary: Path
    kubeconfig: Path

    @property
    def line(self) -> str:
        """The start of a command line that works from any folder."""
        return f"{self.binary} --kubeconfig {self.kubeconfig}"

    def try_run(self, *args: str, stdin: str | None = None, timeout_s: float = 120) -> tuple[int, str, str]:
        """Status, stdout and stderr of a call."""
        return capture([self.binary, f"--kubeconfig={self.kubeconfig}", *args], stdin, timeout_s)

    def run(self, *args: str, stdin: str | None = None, timeout_s: float = 120) -> str:
        """stdout of a call. Raises DemoError with kubectl's own words."""
        code, out, err = self.try_run(*args, stdin=stdin, timeout_s=timeout_s)
        if code:
            raise DemoError(f"kubectl {' '.join(args)} failed: {err.strip() or out.strip()}")
        return out

    def get(self, kind: str, name: str, namespace: str | None = None) -> Json | None:
        """An object, None when it does not exist. Raises DemoError for any other failure."""
        scope = ["-n", namespace] if namespace else []
        out = self.run(*scope, "get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(out) if out.strip() else None

    def list(self, kind: str, namespace: str, selector: str = "") -> list[Json]:
        """Objects of a kind in a namespace."""
        more = ["-l", selector] if selector else []
        return list(json.loads(self.run("-n", namespace, "get", kind, "-o", "json", *more))["items"])

    def apply(self, objects: Sequence[Mapping[str, Any]]) -> str:
        """Server-side apply of objects; what kubectl says about each."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        return self.run(
            "apply", "--server-side", "--force-conflicts", "--field-manager=flywheel-demo", "-f", "-", stdin=text
        )

    def delete(self, kind: str, name: str, namespace: str | None = None, timeout_s: float = 180) -> None:
        """Deletes an object and waits until it is gone; a missing one is no error."""
        scope = ["-n", namespace] if namespace else []
        self.run(
            *scope,
            "delete",
            kind,
            name,
            "--ignore-not-found",
            "--wait=true",
            f"--timeout={timeout_s:.0f}s",
            timeout_s=timeout_s + 30,
        )


def wait(what: str, ready: Callable[[], bool], timeout_s: float, every_s: float = 0.5) -> None:
    """Polls until ready. Raises DemoError naming `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            raise DemoError(f"{what} after {timeout_s:.0f} s")
        time.sleep(every_s)


def is_true(resource: Mapping[str, Any] | None, condition: str) -> bool:
    """Whether an object has that condition with status True."""
    found = (resource or {}).get("status", {}).get("conditions") or []
    return any(c.get("type") == condition and c.get("status") == "True" for c in found)


def find_kubectl() -> Path:
    """The user's own kubectl. Raises DemoError if there is none."""
    found = shutil.which("kubectl")
    if not found:
        raise DemoError("CLUSTER=existing needs kubectl on the PATH: install it as your cluster's documentation says")
    return Path(found)
