"""An API server that does not take one kind, and looks that go on meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from flywheel_operator.ports.errors import PortError
from unit.operator.world import World


def refusing(world: World, kind: str, error: Callable[[], PortError]) -> None:
    def refuse(verb: str, which: str) -> None:
        if verb == "create" and which == kind:
            raise error()

    world.kube.before_write = refuse


async def turns(world: World, count: int, seconds: float = 1.5) -> None:
    for _ in range(count):
        await world.look()
        world.act()
        world.tick(seconds)
