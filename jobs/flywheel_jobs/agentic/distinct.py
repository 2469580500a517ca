"""Tasks that ask what another one asks: exactly, or by somebody else in other words.

What counts is the case without who speaks and how: world, patches, caller's affairs and wishes. Compared is with the
round's own tasks, with those of all earlier rounds of the campaign (each round hands its fingerprints on), and with
the held-out suites.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flywheel_api.records.agentic import Fingerprint, Task
from flywheel_api.records.base import content_digest

UNSAID = ("persona", "claims", "target", "kind")
"""Parts of a case that change nothing of what is asked."""
EXACT, NEAR, HELD_OUT, EARLIER = "duplicate", "near-duplicate", "held-out", "in-earlier-round"


class Distinct:
    """What has been asked; `add` takes a task, or says why not."""

    def __init__(self, earlier: Iterable[Fingerprint] = (), held_out: Iterable[Task] = ()) -> None:
        self._earlier = {f.near for f in earlier}
        self._held_out = {near(task.package, task.case) for task in held_out}
        self._near: set[str] = set()
        self._exact: set[str] = set()

    def reason(self, package: str, case: dict[str, Any], exact: str = "") -> str:
        """Why a case is no new one; empty where it is."""
        digest = near(package, case)
        if digest in self._held_out:
            return HELD_OUT
        if digest in self._earlier:
            return EARLIER
        if exact and exact in self._exact:
            return EXACT
        return NEAR if digest in self._near else ""

    def add(self, package: str, case: dict[str, Any], exact: str = "") -> str:
        """Takes a case, unless there is a reason not to, which is returned."""
        reason = self.reason(package, case, exact)
        if not reason:
            self._near.add(near(package, case))
            self._exact.add(exact)
        return reason


def near(package: str, case: dict[str, Any]) -> str:
    """Digest of what is asked, whoever asks it and however."""
    return content_digest(package, _plain({k: v for k, v in case.items() if k not in UNSAID}))


def _plain(value: Any) -> Any:
    """Without the number of the wording, and with edits in an order of their own."""
    if isinstance(value, dict):
        found = {k: _plain(v) for k, v in value.items() if k != "words"}
        if isinstance(found.get("edits"), list):
            found["edits"] = sorted(found["edits"], key=str)
        return found
    return [_plain(v) for v in value] if isinstance(value, list) else value


def fingerprint(task: Task) -> Fingerprint:
    """What a later round is handed."""
    return Fingerprint(id=task.id, lineage=task.lineage, near=near(task.package, task.case))
