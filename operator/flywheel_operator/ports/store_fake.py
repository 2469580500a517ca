"""An object store in memory, for tests. `broken` makes every call fail as an outage would."""

from __future__ import annotations

from flywheel_operator.ports.objects import ObjectStore, StoreSettings
from flywheel_store.memory import MemoryBucket


class FakeStore(ObjectStore):
    """A store without a server. `conditional=False` plays a server that ignores If-None-Match."""

    def __init__(self, settings: StoreSettings | None = None, conditional: bool = True) -> None:
        self.memory = MemoryBucket(settings)
        self.memory.conditional = conditional
        self.objects = self.memory.objects
        super().__init__(self.memory)

    @property
    def broken(self) -> bool:
        """Whether the operator cannot reach it."""
        return self.memory.broken

    @broken.setter
    def broken(self, broken: bool) -> None:
        self.memory.broken = broken

    def put(self, key: str, data: bytes) -> None:
        """What a job writes."""
        self.objects[self.settings.full_key(key)] = data
