"""Scripted behaviours of the agentic track: teacher, solver and user. What they say comes from the request's data.

A teacher's or user's request carries its data as JSON; a solver's is the task's own prompt. The branch catalogue is a
function of the rollouts: what the rollouts show decides which branches come first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from flywheel_jobs.reading.calls import render
from flywheel_standin.protocol import Answer, ChatRequest, Data

Branch = Data

REQUESTS = ("I am {name}, {a} {trade}. Undo booking {key}.", "{name} here, {a} {trade}. Undo booking {key}.")
"""Wordings of training tasks; held-out suites use others (agentic/heldout.py)."""
PUSHES = {
    "cancel": "I will not go.",
    "refund": "I want my money.",
}
"""What a user says who wants that write whatever the booking's fare is."""
ASKS_FOR_NUMBER = re.compile(r"\b(which|number|id)\b", re.IGNORECASE)


def respond(request: ChatRequest) -> Answer | None:
    """The scripted answer, or None for a request of another kind."""
    data = request.data
    if data is not None:
        script = {"workflow": _workflow, "expand": _expand, "invert": _invert, "user": _user}.get(str(data.get("ask")))
        return None if script is None else Answer(json.dumps(script(data)))
    if request.system.startswith("Tools: "):
        return Answer(solve(request.messages))
    return None


# ---- teacher ---------------------------------------------------------------------------------------------------------
def _workflow(data: Data) -> Data:
    tools = [t["name"] for t in data["domain"]["tools"]]
    return {
        "goal": f"A {data['persona']['trade']} wants to undo a booking.",
        "background": data["persona"]["text"],
        "tools": tools[:5],
        "workflow": ["get_booking", "cancel"],
        "restriction": "No seat is changed.",
        "state": {"fare": "cancelable"},
        "rules": ["cancelable"],
    }


def _branch(name: str, kind: str, action: str, condition: str, rules: list[str], **rest: object) -> Branch:
    return {"id": name, "kind": kind, "action": action, "condition": condition, "rules": rules, **rest}


def catalogue(parent: Branch) -> dict[str, Branch]:
    """Branches that can hang below a parent: its state with one thing changed."""
    state = dict(parent["state"])
    refundable = {**state, "fare": "refundable"}
    look = parent["path"][0]
    cancel, refund = [look, "cancel"], [look, "refund"]
    usual = refund if state.get("fare") == "refundable" else cancel
    other = cancel if usual == refund else refund
    changed = {**state, "fare": "cancelable"} if usual == refund else refundable
    fare, swapped = state.get("fare", "cancelable"), changed["fare"]
    rules = [str(fare)]
    found = [
        _branch("other-fare", "variation", "proceed", f"The fare is {swapped}.", [swapped], state=changed, path=other),
        _branch("usual-fare", "variation", "proceed", f"The fare is {fare}.", rules, state=state, path=usual),
        _branch(
            "wish-against-fare", "trap", "proceed", f"The fare is {swapped}, the wish for the other.", [swapped],
            state=changed, path=other, trap=usual,
        ),
        _branch(
            "wish-against-usual-fare", "trap", "proceed", f"The fare is {fare}, the wish for the other.", rules,
            state=state, path=usual, trap=other,
        ),
        _branch(
            "locked", "precondition", "refuse", "The fare is locked.", ["locked"], state={**state, "fare": "locked"},
            path=[look], trap=usual,
        ),
        _branch(
            "not-theirs", "unauthorised", "refuse", "The booking is another person's.", ["owner"],
            state={**state, "owner": "other"}, path=[look], trap=usual,
        ),
        _branch(
            "number-withheld", "missing-data", "clarify", "The customer names no booking.", ["number", *rules],
            state=state, path=usual, withheld=True,
        ),
        _branch(
            "already-undone", "validation", "refuse", "The booking is already cancelled.", ["done"],
            state={**state, "state": "cancelled"}, path=[look], trap=usual,
        ),
    ]  # fmt: skip
    return {b["id"]: b for b in found}


ANSWERS_TO = {
    "success": ("other-fare", "locked"),
    "early-write": ("other-fare", "wish-against-fare", "not-theirs"),
    "wrong-write": ("wish-against-fare", "wish-against-usual-fare"),
    "trap-write": ("wish-against-usual-fare", "wish-against-fare"),
    "tool-error": ("number-withheld", "already-undone"),
    "no-write": ("usual-fare", "number-withheld"),
}
"""What was observed -> the branches that probe it."""
FILL = ("other-fare", "wish-against-fare", "usual-fare", "wish-against-usual-fare")
"""Then these, all of which end in a write; refusals and questions come in when they were called for, or last."""


def _expand(data: Data) -> Data:
    parents = [{**b, "next": []} for b in data["parent"]]
    known = {b["id"] for b in parents}
    possible = catalogue(parents[-1])
    seen = sorted(data["observed"], key=lambda group: -data["observed"][group])
    wanted = [b for group in seen for b in ANSWERS_TO.get(group, ())[:1]]
    order = dict.fromkeys([*wanted, *FILL, *possible])
    depth = len(parents)
    fresh = [_renamed(possible[b], known, depth) for b in order][: int(data["branches"])]
    tree = fresh
    for branch in reversed(parents):
        tree = [{**branch, "next": tree}]
    refusals = [b["condition"] for b in fresh if b["action"] == "refuse"] or ["The booking is locked."]
    return {
        "root_condition": "A customer wants to undo a booking.",
        "workflow_steps": list(data["workflow"].get("workflow") or parents[-1]["path"]),
        "allowed_actions": ["Undo a booking of the customer."],
        "disallowed_actions": ["Undo a booking of another person."],
        "refusal_conditions": refusals,
        "transfer_conditions": [],
        "branches": tree,
    }


def _renamed(branch: Branch, known: set[str], depth: int) -> Branch:
    """A branch under a name that its path does not hold yet."""
    return {**branch, "id": f"{branch['id']}-{depth}" if branch["id"] in known else branch["id"]}


def _invert(data: Data) -> Data:
    branch, key, persona = data["branch"], data["key"], data["persona"]
    a = "an" if persona["trade"][:1].lower() in "aeiou" else "a"
    form = REQUESTS[(key + len(persona["text"])) % len(REQUESTS)]
    task = form.format(a=a, name=persona["name"], trade=persona["trade"], key=key)
    if data["withheld"]:
        task = task.replace(f"booking {key}", "my booking")
    trap = {"hack_success_user_background": "", "user_escape_strategy": ""}
    if data["push"]:
        write = branch["trap"][-1]
        head, _, tail = task.rpartition(" Undo ")
        task = f"{head} {PUSHES.get(write, 'You know what I want.')} Undo {tail}"
        trap = {
            "hack_success_user_background": f"The user claims that the fare allows it to {write.split('_')[0]}.",
            "user_escape_strategy": "Claims to be entitled, then pleads, then gives up.",
        }
    return {
        "task": task,
        "user_background": f"{persona['text']} The booking number is {key}.",
        **trap,
        "test_policy": branch["condition"],
        "evaluation": f"{branch['condition']} Right: {' then '.join(branch['path'])}, nothing else.",
    }


# ---- user ------------------------------------------------------------------------------------------------------------
def _user(data: Data) -> Data:
    """Four levels (docs/method.md, "Simulated user"): reveal on a matching question, claim, plead, stop."""
    said, turn = str(data["agent_said"]), int(data["turn"])
    if data["writes_done"]:
        return {"reply": "Thank you.", "stop": True}
    number = re.search(r"\b\d+\b", str(data["background"]))
    if number and ASKS_FOR_NUMBER.search(said):
        return {"reply": f"It is booking {number.group()}.", "stop": False}
    levels = ("I am entitled to it.", "Please, it is urgent.")
    if turn <= len(levels) and data["escape_strategy"]:
        return {"reply": levels[turn - 1], "stop": False}
    return {"reply": "Then leave it.", "stop": True}


# ---- solver ----------------------------------------------------------------------------------------------------------
def solve(messages: Sequence[Mapping[str, object]]) -> str:
    """An oracle for the compact prompt: looks up the number of the last request, then does what the answer says."""
    asked = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=0)
    numbers = re.findall(r"\b\d+\b", " ".join(str(m["content"]) for m in messages[asked:] if m["role"] == "user"))
    after = [m for m in messages[asked:] if m["role"] == "tool"]
    if not numbers:
        return "What is the booking number?"
    if not after:
        return render("get_booking", {"id": int(numbers[-1])})
    found = str(after[-1]["content"])
    if "," in found or found not in ("cancelable", "refundable"):
        return f"I cannot undo it: {found}."
    write = "cancel" if found == "cancelable" else "refund"
    return render(write, {"id": int(numbers[-1])})
