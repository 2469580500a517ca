"""The executor: status first, then effects, then events (law 3). Nothing else writes to the cluster."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from flywheel_api.base import StatusModel, format_time
from flywheel_api.conditions import Reason, truncate
from flywheel_api.names import FIELD_MANAGER
from flywheel_operator import refusals
from flywheel_operator.logs import get_logger, redact
from flywheel_operator.model import Act, ActionId, Effect, Note, Object, Problem
from flywheel_operator.ports.errors import Conflict, Forbidden, PortError, Terminal
from flywheel_operator.ports.kinds import BY_KIND, KubeApi, owner_uid

log = get_logger(__name__)


async def write_status(kube: KubeApi, obj: Object, wire: Object) -> Object:
    """One write if the status differs, none otherwise (law 11)."""
    if wire == (obj.get("status") or {}):
        return obj
    return await kube.patch_status(obj, wire)


@dataclass(frozen=True)
class Outcome:
    """Whether the status differed, and what did not work: a problem is for a person to mend, an error may pass."""

    wrote: bool = False
    failed: Mapping[ActionId, Problem | PortError] = field(default_factory=dict)


async def execute(
    kube: KubeApi, obj: Object, status: StatusModel, effects: Sequence[Effect], notes: Iterable[Note]
) -> Outcome:
    """Carries a plan out, every effect of it: one that fails says nothing of the others. Raises PortError of status."""
    written = await write_status(kube, obj, status.dump())
    if written is obj and any(effect.action.act is Act.DELETE for effect in effects):
        await _still(kube, obj)
    failed: dict[ActionId, Problem | PortError] = {}
    for effect in effects:
        try:
            answer: Problem | PortError | None = await _act(kube, written, effect)
        except PortError as error:
            answer = error
        if answer is not None:
            failed[effect.action.id] = answer
            said = answer.message if isinstance(answer, Problem) else str(answer)
            log.warning("not taken", child=f"{effect.action.kind}/{effect.action.name}", error=redact(said))
    await asyncio.gather(*(post_event(kube, written, note, place) for place, note in enumerate(_told(notes))))
    return Outcome(written is not obj, failed)


def _told(notes: Iterable[Note]) -> list[Note]:
    """One Event for good news and what follows from it: the API server writes each of them to disk."""
    told: list[Note] = []
    for note in notes:
        if note.follows and told and told[-1].type == "Normal":
            told[-1] = replace(told[-1], message=f"{told[-1].message}; {note.message}")
        else:
            told.append(note)
    return told


async def _still(kube: KubeApi, obj: Object) -> None:
    """Deleting follows from what status says: where no write has proved that it is the newest, it is read again.

    In a rolling upgrade two operators act for a moment: the child that one of them has just made is a stray to the
    other, whose watch has not brought the status yet. Raises Conflict.
    """
    meta = obj["metadata"]
    found = await kube.refresh(BY_KIND[obj["kind"]], meta["namespace"], meta["name"])
    if found is None or found["metadata"]["resourceVersion"] != meta["resourceVersion"]:
        raise Conflict(f"{obj['kind']} {meta['name']} has changed")


async def _act(kube: KubeApi, owner: Object, effect: Effect) -> Problem | None:
    action, meta = effect.action, owner["metadata"]
    log.info(
        "effect",
        act=action.act.value,
        child=f"{action.kind}/{action.name}",
        of=f"{meta['namespace']}/{meta['name']}",
    )
    try:
        if action.act is Act.DELETE:
            await kube.delete(BY_KIND[action.kind], meta["namespace"], action.name, action.uid)
        elif effect.body is not None and action.act is Act.APPLY:
            await kube.apply(effect.body)
        elif effect.body is not None:
            return await _create(kube, effect.body, meta["uid"])
    except Forbidden as error:
        return refusals.of_child(str(error))
    except Terminal as error:
        return Problem(Reason.POD_REFUSED, str(error))
    return None


async def _create(kube: KubeApi, body: Object, uid: str) -> Problem | None:
    """Create once: a child of that name and owner is success, anybody else's is a conflict that a person must mend.

    A conflict without such an object is about something else, such as a quota that was counted twice at once.
    """
    name, resource = body["metadata"]["name"], BY_KIND[body["kind"]]
    try:
        await kube.create(body)
    except Conflict:
        found = await kube.refresh(resource, body["metadata"]["namespace"], name)
        if found is None:
            raise
        if owner_uid(found) != uid:
            text = f"a {resource.kind} {name!r} that is not ours exists: delete it, this goes on by itself then"
            return Problem(Reason.NAME_CONFLICT, text)
    return None


async def post_event(kube: KubeApi, obj: Object, note: Note, place: int = 0) -> None:
    """An Event about `obj`, the `place`-th of its plan; a lost one is a log line, never a failed reconcile.

    Its name is a function of the object's version and its content, so that a repeated plan does not repeat the story.
    Names sort in the order of the story: Events carry whole seconds, and kubectl keeps the names' order within one.
    """
    meta = obj["metadata"]
    facts = f"{meta['uid']}/{note.reason}/{note.message}"
    order = f"{str(meta['resourceVersion']).zfill(16)}{place:02d}"
    now = format_time(datetime.now(UTC))
    body = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{meta['name'][:200]}.{order}.{hashlib.sha256(facts.encode()).hexdigest()[:8]}",
            "namespace": meta["namespace"],
        },
        "involvedObject": {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
        },
        "reason": note.reason,
        "message": truncate(redact(note.message)),
        "type": note.type,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "reportingInstance": FIELD_MANAGER,
    }
    try:
        await kube.create(body)
    except Conflict:
        pass
    except PortError as error:
        log.warning("event lost", of=f"{meta['namespace']}/{meta['name']}", error=str(error))
