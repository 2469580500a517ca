"""What the cases of a round share: an edited round, its stages, turns of the world, and a pod's words."""

from __future__ import annotations

from typing import Any

import yaml

from flywheel_api import artifacts
from flywheel_api.base import format_time
from flywheel_api.canonical import canonical_json
from unit.operator.world import ROUND, World

Object = dict[str, Any]


def edited(**changes: Any) -> str:
    body = yaml.load(ROUND, yaml.CSafeLoader)
    for path, value in changes.items():
        target, keys = body, path.split("__")
        for key in keys[:-1]:
            target = target.setdefault(key, {})
        target[keys[-1]] = value
    return yaml.safe_dump(body)


def stage(world: World, name: str) -> Object:
    return next(s for s in world.status()["stages"] if s["name"] == name)


def status_writes(world: World) -> int:
    return sum(verb == "status" for verb, _, _ in world.kube.log)


async def turns(world: World, count: int) -> None:
    for _ in range(count):
        await world.look()
        world.act()
        world.tick()


def say(world: World, stage: str, attempt: int = 1, **fields: Any) -> None:
    """Progress as the stage's pod writes it."""
    uid, at = world.get("FlywheelRound", "demo-r1")["metadata"]["uid"], format_time(world.now)
    progress = artifacts.Progress(updated_at=at, heartbeat_at=at, **fields)
    world.store.put(artifacts.progress_key(uid, stage, attempt), canonical_json(progress.dump()))
