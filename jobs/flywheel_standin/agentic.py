"""Scripted behaviours of the agentic track: teacher, solver and user, in any domain.

A teacher's or user's request carries its data as JSON. A solver's is the task's own prompt, with package and case
beside it (`metadata`, which only a stand-in is sent): what is right is computed from the domain's declaration, and said
turn by turn. At a set rate an answer is wrong, so that those who check have something to reject.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

from flywheel_api.records.agentic import User
from flywheel_domains.values import plain
from flywheel_jobs.agentic.right import Right, compute, read_case, traps
from flywheel_jobs.agentic.user import reply
from flywheel_jobs.reading.calls import render
from flywheel_standin.domains import domain_of
from flywheel_standin.oracle import turns
from flywheel_standin.protocol import Answer, ChatRequest, Data

WRONG = 0.06
"""Share of a teacher's answers, and of a solver's turns, that are wrong."""


def respond(request: ChatRequest) -> Answer | None:
    """The scripted answer, or None for a request of another kind."""
    data = request.data
    if data is not None:
        wrong = request.rng("wrong").random() < WRONG
        match data.get("ask"):
            case "expand":
                return Answer.json(_expand(data, wrong))
            case "words":
                return Answer.json(_words(data, wrong))
            case "user":
                return Answer.json(_user(data))
        return None
    if "case" in request.metadata:
        return Answer(solve(request))
    return None


# ---- teacher ---------------------------------------------------------------------------------------------------------
def _expand(data: Data, wrong: bool) -> Data:
    """Picks from what the domain offers: what answers to the observed failures first, each kind in turn."""
    offers = list(data["offers"])
    observed = data["observed"]
    failing = max((g for g in observed if g != "success"), key=lambda g: observed[g], default="success")
    first = PROBES.get(failing, ())
    seen: Counter[object] = Counter()
    ranked = []
    for place, offer in enumerate(offers):
        seen.update((offer["kind"], offer["allowed"]))
        ranked.append((seen[offer["allowed"]], seen[offer["kind"]], offer["kind"] not in first, place))
    picks = [offers[place]["id"] for *_, place in sorted(ranked)][: int(data["branches"])]
    if wrong and picks:
        picks[0] = "no-such-branch"
    return {"picks": picks, "edits": []}


PROBES = {
    "early-write": ("precondition", "unauthorised"),
    "trap": ("trap", "prohibited"),
    "wrong-state": ("variation", "trap"),
    "tool-error": ("missing-data", "validation"),
    "not-looked-up": ("precondition", "out-of-window"),
    "denied-wrongly": ("variation", "normal"),
}
"""What the policy failed at -> kinds of branches that probe it."""


def _words(data: Data, wrong: bool) -> Data:
    """The domain's own words; wrong ones lack what has to be said."""
    task = str(data["words"])
    if wrong:
        for value in data["must_say"]:
            task = task.replace(str(value), "that")
        task = task if data["must_say"] else f"As the policy says: {task}"
    return {"task": task, "background": str(data["background"])}


# ---- user ------------------------------------------------------------------------------------------------------------
def _user(data: Data) -> Data:
    card = User.model_validate({k: v for k, v in data.items() if k in CARD})
    turn, writes, told = (int(data[name]) for name in ("turn", "writes_done", "told"))
    said = reply(card, str(data["agent_said"]), turn, writes, told, list(data["heard"]))
    return {"reply": said.text or "Hm.", "stop": said.stop}


CARD = {field.alias or name for name, field in User.model_fields.items()}


# ---- solver ----------------------------------------------------------------------------------------------------------
def solve(request: ChatRequest, rate: float = WRONG) -> str:
    """An oracle's next turn. Raises ValueError for a case that is none, or of a package that is not here."""
    right, script = _played(request.metadata["package"], request.metadata["case"])
    said = _turn(right, request.messages)
    if request.rng("solver").random() < rate:
        return wrong_turn(right, script, said, request.rng("how"))
    return script[min(said, len(script) - 1)]


@lru_cache(maxsize=1024)
def _played(package: str, case: str) -> tuple[Right, list[str]]:
    """What is right in a case, and the turns of it: computed once for all turns and attempts."""
    right = compute(domain_of(package), read_case(json.loads(case)))
    return right, turns(right)


def wrong_turn(right: Right, script: Sequence[str], said: int, rng: random.Random) -> str:
    """Another turn than the right one: the tempting call, the end before its time, or a refusal out of hand."""
    tempting = [render(call.name, plain(dict(call.args))) for call in traps(right)]
    others = [*tempting, *script[said + 1 :], script[-1], "I cannot do that."]
    return rng.choice([turn for turn in others if turn != script[min(said, len(script) - 1)]])


def _turn(right: Right, messages: Sequence[Mapping[str, object]]) -> int:
    """How many turns the agent has had since the worked examples."""
    shown = sum(len(example.calls) for example in right.domain.prompt.examples)
    return sum(m.get("role") == "assistant" for m in messages) - shown
