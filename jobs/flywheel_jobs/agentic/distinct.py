"""Tasks that ask what another one asks: exactly, or by somebody else in other words, or in a state that only looks new.

What counts is the case without who speaks and how: world, caller's affairs, wishes, and the patches of rows on which
the right verdicts rest. A patch of any other row makes no other task. Compared is with the round's own tasks, with
those of all earlier rounds of the campaign (each round hands its fingerprints on), and with the held-out suites. A case
holds its world: where a domain keeps states apart, its suites are disjoint by world, and none of them is ever met here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flywheel_api.records.agentic import Fingerprint, Task
from flywheel_api.records.base import content_digest
from flywheel_jobs.agentic.right import Right, dump_case, proof_of

UNSAID = ("persona", "claims", "target", "kind")
"""Parts of a case that change nothing of what is asked."""
NEAR, HELD_OUT, EARLIER = "near-duplicate", "held-out", "in-earlier-round"


class Distinct:
    """What has been asked; `add` takes a task, or says why not."""

    def __init__(self, earlier: Iterable[Fingerprint] = (), held_out: Iterable[Task] = ()) -> None:
        self._earlier = {f.near for f in earlier}
        self._held_out = {near_task(task) for task in held_out}
        self._near: set[str] = set()

    @property
    def so_far(self) -> str:
        """A digest of what earlier rounds asked: each round's draws begin elsewhere.

        No digest of the manifests that say so: those hold times, and the same round would draw other cases every day.
        """
        return content_digest(sorted(self._earlier))

    def reason(self, package: str, right: Right) -> str:
        """Why a case is no new one; empty where it is."""
        return self._reason(near_right(package, right))

    def add(self, package: str, right: Right) -> str:
        """Takes a case, unless there is a reason not to, which is returned."""
        digest = near_right(package, right)
        reason = self._reason(digest)
        self._near.add(digest)
        return reason

    def _reason(self, digest: str) -> str:
        if digest in self._held_out:
            return HELD_OUT
        if digest in self._earlier:
            return EARLIER
        return NEAR if digest in self._near else ""


def near(package: str, case: dict[str, Any], proof: Iterable[str]) -> str:
    """Digest of what is asked, whoever asks it and however.

    `proof` names the cells on which what is right rests; without any (a task that others wrote) all patches count.
    """
    asked = {k: v for k, v in case.items() if k not in UNSAID}
    rows = {cell.rpartition("/")[0] for cell in proof}
    edits = [e for e in asked.get("edits", ()) if not rows or f"{e['table']}/{e['row']}" in rows]
    return content_digest(package, _plain({**asked, "edits": sorted(edits, key=str)}))


def near_right(package: str, right: Right) -> str:
    """The digest of a case whose right behaviour is at hand."""
    return near(package, dump_case(right.case), proof_of(right))


def near_task(task: Task) -> str:
    """The digest of a task."""
    return near(task.package, task.case, task.right.proof)


def _plain(value: Any) -> Any:
    """Without the number of the wording."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if k != "words"}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def fingerprint(task: Task) -> Fingerprint:
    """What a later round is handed."""
    return Fingerprint(id=task.id, lineage=task.lineage, near=near_task(task))
