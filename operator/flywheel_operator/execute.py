"""The executor: status first, then effects, then events (law 3). Nothing else writes to the cluster."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from flywheel_api.base import StatusModel, format_time
from flywheel_api.conditions import Reason, truncate
from flywheel_api.names import FIELD_MANAGER
from flywheel_operator.controllers.base import Controller, meta_of
from flywheel_operator.logs import get_logger, redact
from flywheel_operator.plan.types import Act, Action, Note, Plan, Problem
from flywheel_operator.ports.errors import Conflict, Forbidden, PortError, Terminal
from flywheel_operator.ports.kinds import BY_KIND, KubeApi, Object, owner_uid

log = get_logger(__name__)


class Refused(Exception):
    """The API server refuses an effect for a reason that a person must mend."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


async def write_status(kube: KubeApi, obj: Object, status: StatusModel) -> Object:
    """One write if the status differs, none otherwise (law 11)."""
    wire = status.dump()
    if wire == (obj.get("status") or {}):
        return obj
    return await kube.patch_status(obj, wire)


async def execute(kube: KubeApi, controller: Controller, obj: Object, spec: Any, plan: Plan[Any], seen: Any) -> Object:
    """Carry a plan out. Raises Refused when an effect needs a person, other port errors for the queue to retry."""
    written = await write_status(kube, obj, plan.status)
    meta = meta_of(obj)
    refused: Refused | None = None
    for action in plan.actions:
        try:
            await _act(kube, controller, meta, spec, action, plan.status, seen)
        except Refused as error:
            refused = refused or error  # the other effects may well work
        except Forbidden as error:
            refused = refused or Refused(Problem(Reason.FORBIDDEN, f"{error}: grant it, or raise the quota"))
        except Terminal as error:
            refused = refused or Refused(Problem(Reason.POD_REFUSED, str(error)))
    for place, note in enumerate(plan.notes):
        await post_event(kube, written, note, place)
    if refused is not None:
        raise refused
    return written


async def _act(
    kube: KubeApi, controller: Controller, meta: Any, spec: Any, action: Action, status: Any, seen: Any
) -> None:
    log.info("effect", act=action.act.value, child=f"{action.kind}/{action.name}", of=f"{meta.namespace}/{meta.name}")
    if action.act is Act.DELETE:
        await kube.delete(BY_KIND[action.kind], meta.namespace, action.name, action.uid)
    elif action.act is Act.APPLY_SERVICE:
        await kube.apply(controller.render(meta, spec, action, status, seen))
    else:
        await _create(kube, controller.render(meta, spec, action, status, seen), meta.uid)


async def _create(kube: KubeApi, body: Object, uid: str) -> None:
    """Create once: a child of that name and owner is success, anybody else's is a conflict that a person must mend."""
    name, resource = body["metadata"]["name"], BY_KIND[body["kind"]]
    try:
        await kube.create(body)
    except Conflict as error:
        found = await kube.get(resource, body["metadata"]["namespace"], name)
        if found is not None and owner_uid(found) == uid:
            return
        text = f"a {resource.kind} {name!r} that is not ours exists: delete it, this goes on by itself then"
        raise Refused(Problem(Reason.NAME_CONFLICT, text)) from error


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
