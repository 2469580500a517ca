"""Keys of Secrets before pods are given them: there, fit to be sent, and allowed to go where they would."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from flywheel_api.conditions import Reason
from flywheel_api.hosts import ALLOWED_HOSTS
from flywheel_operator.model import Problem
from flywheel_operator.observe.needs import secret_problem
from flywheel_operator.plan.keys import Key, refusal
from flywheel_operator.ports.errors import Forbidden
from flywheel_operator.ports.kinds import SECRETS, KubeApi

_BELIEVED_SECONDS = 15.0
_REMEMBERED = 4096
DENIALS = frozenset({Reason.SECRET_NOT_ALLOWED, Reason.FORBIDDEN})


class KeyBook:
    """Asks the Secrets. That a key may go somewhere is believed for 15 s; whatever is wrong is asked for again."""

    def __init__(self, kube: KubeApi, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube, self._clock = kube, clock
        self._good: dict[tuple[str, Key], float] = {}

    async def problem(self, namespace: str, keys: Iterable[Key]) -> Problem | None:
        """The first thing that is wrong with these keys."""
        for key in keys:
            asked = self._good.get((namespace, key))
            if asked is not None and self._clock() - asked < _BELIEVED_SECONDS:
                continue
            problem = await self._look(namespace, key)
            if problem is not None:
                return problem
            if len(self._good) >= _REMEMBERED:
                self._good.clear()
            self._good[namespace, key] = self._clock()
        return None

    async def _look(self, namespace: str, key: Key) -> Problem | None:
        name = key.ref.secret_name
        try:
            found = await self._kube.get(SECRETS, namespace, name)
        except Forbidden:
            text = (
                f"the operator may not read Secret {name!r} ({key.what}), so that nobody can say where it may go: add "
                "it to rbac.secretNames in the chart's values"
            )
            return Problem(Reason.FORBIDDEN, text)
        problem = secret_problem(found, key.ref, key.what)
        if found is None or problem is not None:
            return problem
        listed = (found["metadata"].get("annotations") or {}).get(ALLOWED_HOSTS, "")
        denied = refusal(key, namespace, listed)
        return Problem(Reason.SECRET_NOT_ALLOWED, denied) if denied else None
