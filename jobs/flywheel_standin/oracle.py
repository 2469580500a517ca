"""What a right agent says in a case, turn by turn: look-ups, questions, read-backs, calls, and the last words."""

from __future__ import annotations

from flywheel_domains.case import Ending, Step, StepKind
from flywheel_domains.reward import closing
from flywheel_domains.values import plain
from flywheel_jobs.agentic.right import Right, steps
from flywheel_jobs.reading.calls import render

GO_AHEAD = "Shall I go ahead?"


def turns(right: Right) -> list[str]:
    """All turns, in order."""
    said = [_turn(step) for step in steps(right)]
    handed = Ending.HANDED_OVER in right.behaviour.endings
    return said if handed else [*said, closing(right.domain, right.behaviour)]


def _turn(step: Step) -> str:
    if step.kind is StepKind.ASK:
        return f"What is the {' and the '.join(slot.replace('_', ' ') for slot in step.slots)}, please?"
    if step.kind is StepKind.CONFIRM or step.call is None:
        return GO_AHEAD
    return render(step.call.name, plain(dict(step.call.args)))
