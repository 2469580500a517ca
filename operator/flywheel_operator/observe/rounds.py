"""Preflight of a round: everything that can be known before the first pod starts."""

from __future__ import annotations

from dataclasses import dataclass

from flywheel_api.common import ModelStatus
from flywheel_api.conditions import Reason
from flywheel_api.overrides import check_overrides
from flywheel_api.presets import PRESETS
from flywheel_api.round import Endpoint, FlywheelRoundSpec, FlywheelRoundStatus
from flywheel_operator.observe import preflight
from flywheel_operator.observe.stores import StoreBook
from flywheel_operator.plan.types import Problem
from flywheel_operator.ports.errors import Forbidden
from flywheel_operator.ports.kinds import POOLS, ROUNDS, SECRETS, KubeApi
from flywheel_operator.ports.objects import ObjectStore, StoreProblem


@dataclass(frozen=True)
class Found:
    """What preflight found; `base` is set when everything is there."""

    problem: Problem | None = None
    store_problem: Problem | None = None
    waits_for: str | None = None
    base: ModelStatus | None = None


class RoundPreflight:
    """The checks, cheapest first; the first problem is told."""

    def __init__(self, kube: KubeApi, stores: StoreBook) -> None:
        self._kube, self._stores = kube, stores

    async def check(self, namespace: str, spec: FlywheelRoundSpec) -> Found:
        """Runs them all."""
        store, trouble = await self._stores.checked(namespace, spec.store.secret_name)
        problem = self._spec(spec) or await preflight.kuberay(self._kube)
        for endpoint in spec.endpoints:
            problem = problem or await self._endpoint(namespace, endpoint)
        if problem is not None or store is None:
            return Found(problem, trouble)
        try:
            if spec.base.round is not None:
                return await self._base_round(namespace, spec.base.round)
            return await self._base_model(store, spec.base.model or "")
        except StoreProblem as error:
            return Found(store_problem=Problem(error.reason, str(error)))

    def _spec(self, spec: FlywheelRoundSpec) -> Problem | None:
        if spec.training.preset not in PRESETS:
            known = ", ".join(sorted(PRESETS))
            text = f"training.preset {spec.training.preset!r} is unknown: known presets are {known}"
            return Problem(Reason.INVALID_SPEC, text)
        for track in (spec.training.reasoning, spec.training.agentic):
            wrong = check_overrides(track.overrides)
            if wrong:
                return Problem(Reason.UNKNOWN_OVERRIDE, "; ".join(wrong[:3]))
        return None

    async def _endpoint(self, namespace: str, endpoint: Endpoint) -> Problem | None:
        if endpoint.api_key is not None:
            ref = endpoint.api_key
            try:
                secret = await self._kube.get(SECRETS, namespace, ref.secret_name)
            except Forbidden:
                return None  # the pod reads it itself; the operator need not
            if secret is None:
                text = (
                    f"Secret {ref.secret_name!r}, the API key of role {endpoint.role.value}, does not exist: create it"
                )
                return Problem(Reason.SECRET_NOT_FOUND, text)
            if ref.key not in (secret.get("data") or {}):
                text = (
                    f"Secret {ref.secret_name!r} has no key {ref.key!r} (API key of role {endpoint.role.value}): add it"
                )
                return Problem(Reason.SECRET_KEY_MISSING, text)
        if endpoint.pool_ref is not None and await self._kube.get(POOLS, namespace, endpoint.pool_ref) is None:
            text = f"RolloutPool {endpoint.pool_ref!r} of role {endpoint.role.value} does not exist: apply it"
            return Problem(Reason.ENDPOINT_UNAVAILABLE, text)
        return None

    async def _base_round(self, namespace: str, name: str) -> Found:
        found = await self._kube.get(ROUNDS, namespace, name)
        if found is None:
            text = f"FlywheelRound {name!r} of spec.base.round is not in namespace {namespace!r}: apply it"
            return Found(Problem(Reason.BASE_ROUND_NOT_FOUND, text))
        status = FlywheelRoundStatus.model_validate(found.get("status") or {})
        if status.finished_at is None:
            # its stage, not its progress: the text must not move with every step of the other round
            return Found(waits_for=f"waiting for round {name} to be promoted; it is at {status.stage or 'its start'}")
        if status.model is None:
            text = (
                f"round {name!r} ended {status.verdict or 'without a model'}, so there is nothing to train from: "
                "apply this round anew with another spec.base"
            )
            return Found(Problem(Reason.BASE_ROUND_NOT_PROMOTED, text))
        return Found(base=status.model)

    async def _base_model(self, store: ObjectStore, ref: str) -> Found:
        digest, problem = await preflight.model(store, ref)
        if digest is None:
            return Found(problem)
        return Found(base=ModelStatus(uri=ref, digest=digest))
