"""The right behaviour of a task: computed where it is needed, never read from a record (docs/method.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from flywheel_api.records.agentic import Call, RightBehaviour, Task
from flywheel_api.records.base import content_digest
from flywheel_domains import case as cases
from flywheel_domains import tools
from flywheel_domains.behaviour import Behaviour, behave
from flywheel_domains.case import StepKind
from flywheel_domains.domain import Domain
from flywheel_domains.generate import build_world
from flywheel_domains.lookups import Path, path_of
from flywheel_domains.values import plain
from flywheel_domains.world import World
from flywheel_jobs.agentic import prompt
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.domains.packages import REASON
from flywheel_jobs.domains.shelf import Shelf

_CASE = TypeAdapter(cases.Case)
T = TypeVar("T")
KEPT = 4096  # behaviours at hand: an episode asks for one at its start and at its end


@dataclass(frozen=True)
class Right:
    """A case on its domain, with what a right agent does in it."""

    domain: Domain
    case: cases.Case
    behaviour: Behaviour

    @property
    def start(self) -> World:
        """The world before the conversation."""
        return self.behaviour.start

    @cached_property
    def path(self) -> Path:
        """One right way in full. Raises Unprovable: the domain is wrong."""
        return path_of(self.domain, self.behaviour)

    @cached_property
    def workflow(self) -> str:
        """Digest of what is wished, must be seen and called, and why it ends: what shares it differs in words alone."""
        ends = [[r.option.wish, str(r.ending), sorted(r.decision.fired)] for r in self.behaviour.results]
        return content_digest(proof_of(self), [call.dump() for call in calls_of(self)], ends)


def dump_case(case: cases.Case) -> dict[str, Any]:
    """The case as a record holds it."""
    found: dict[str, Any] = _CASE.dump_python(case, mode="json", exclude_defaults=True)
    return found


def read_case(value: object) -> cases.Case:
    """The case of a record. Raises ValueError."""
    return _read(_CASE, value)


def _read(kind: TypeAdapter[T], value: object) -> T:
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"a case has a wrong {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def compute(domain: Domain, case: cases.Case) -> Right:
    """What is right in a case. Raises what `behave` does for a case that is no task."""
    return Right(domain, case, behave(domain, build_world(domain, case.seed), case))


def right_of(shelf: Shelf, task: Task) -> Right:
    """What is right in a task. Raises ValidationFailure for a task that is none."""
    return _kept(shelf, task.package, json.dumps(task.case, sort_keys=True))


@lru_cache(maxsize=KEPT)
def _kept(shelf: Shelf, package: str, case: str) -> Right:
    domain = shelf.domain(package)
    try:
        return compute(domain, read_case(json.loads(case)))
    except Exception as error:
        raise ValidationFailure(f"a task of domain {domain.domain} cannot be played: {error}", REASON) from error


def summary(right: Right) -> RightBehaviour:
    """What a record says of it."""
    found = right.behaviour
    return RightBehaviour(
        calls=calls_of(right),
        endings=[str(ending) for ending in found.endings],
        rules=sorted(found.rules),
        proof=proof_of(right),
        tell=[fact.name for fact in found.facts],
        traps=[record_call(call) for call in traps(right)],
        state=found.final.digest,
    )


def proof_of(right: Right) -> list[str]:
    """The cells on which what is right rests, as a record names them."""
    return sorted(f"{cell.table}/{cell.row}/{cell.column}" for cell in right.behaviour.proof)


def calls_of(right: Right) -> list[Call]:
    """The calls of the right way, look-ups among them. Raises Unprovable."""
    return [record_call(step.call) for step in steps(right) if step.call and step.kind is not StepKind.CONFIRM]


def record_call(call: cases.Call) -> Call:
    """A call as a record holds it."""
    return Call(name=call.name, arguments=plain(dict(call.args)))


def steps(right: Right) -> tuple[cases.Step, ...]:
    """One right way in full, look-ups and questions among its steps. Raises Unprovable: the domain is wrong."""
    return right.path.steps


def has_room(right: Right) -> bool:
    """Whether the policy has turns for the right way: a compact domain's episodes are short, and about one wish."""
    if right.domain.prompt.compact and len(right.case.wants) > 1:
        return False
    return spare_turns(right) >= 0


def spare_turns(right: Right) -> int:
    """Turns that the policy has beside the right way and its last words, which a compact domain's write makes needless.

    Negative where these have no room.
    """
    settled = right.domain.prompt.compact and right.behaviour.writes
    return prompt.limits(right.domain).turns - len(steps(right)) - (not settled)


def traps(right: Right) -> list[cases.Call]:
    """Calls that were wished for and are not to be made, though their tool would make them."""
    found = []
    for result in right.behaviour.results:
        wished = cases.Call(right.domain.wishes[result.option.wish].goal, dict(result.option.said))
        tool = right.domain.tools.get(wished.name)
        if tool is None or not tool.writes or (wished == result.call and result.wrote):
            continue
        outcome = tools.call(right.domain, result.world, result.session, wished.name, plain(dict(wished.args)))
        if outcome.refusal is None:
            found.append(wished)
    return found
