"""kopf is set up with what it has today: a deprecated setting is a warning, and warnings are errors in tests."""

from __future__ import annotations

from flywheel_operator.app import build_registry, operator_settings
from flywheel_operator.ports.cache import WATCHED
from flywheel_operator.ports.kinds import CHILDREN
from flywheel_operator.ports.login import Login


def test_kopf_is_silent_and_watches_only_children_of_ours() -> None:
    settings = operator_settings()
    assert not settings.posting.enabled and settings.peering.standalone
    selectors = settings.watching.label_selectors
    assert set(selectors.values()) == {"app.kubernetes.io/managed-by=flywheel"}
    assert len(selectors) == len(CHILDREN)


def test_no_event_waits_for_a_worker_of_another_object() -> None:
    queueing = operator_settings().queueing
    assert queueing.worker_limit is None and queueing.idle_timeout <= 0.1


async def test_no_handler_writes_to_an_object() -> None:
    async def see(event: str | None, obj: object) -> None: ...

    registry = build_registry(Login.__new__(Login), see)
    assert len(list(registry._watching.get_all_handlers())) == len(WATCHED)  # events only
    assert not registry._changing.get_all_handlers()
    assert not registry._spawning.get_all_handlers()
    assert not registry._indexing.get_all_handlers()
