"""Forms of the verbs by which somebody says that a wish was carried out: "cancel", "cancelled", "cancelling"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

USUAL = (
    "accept", "activate", "add", "adjust", "admit", "alter", "amend", "apply", "approve", "arrange", "assign",
    "award", "book", "bring", "bump", "cancel", "carry", "change", "close", "compensate", "complete", "correct",
    "credit", "cross", "deactivate", "decrease", "deduct", "delete", "dispatch", "drop", "edit", "enrol", "enter",
    "erase", "exchange", "execute", "extend", "finalise", "finalize", "finish", "fix", "free", "fulfil", "give",
    "grant", "honour", "implement", "increase", "issue", "knock", "lengthen", "lift", "lower", "mail", "make",
    "modify", "move", "nominate", "order", "pay", "place", "pop", "post", "postpone", "process", "prolong", "push",
    "put", "raise", "redirect", "reduce", "refund", "register", "reimburse", "release", "remove", "rename", "renew",
    "replace", "reserve", "resolve", "restore", "return", "reverse", "revert", "save", "schedule", "scrap",
    "secure", "send", "set", "settle", "shift", "ship", "shorten", "slot", "sort", "squeeze", "stop", "strike",
    "submit", "swap", "switch", "take", "terminate", "transfer", "undo", "update", "upgrade", "use", "void",
    "waive", "withdraw",
)  # fmt: skip
"""What desks of all kinds do, beside what the tools of a domain are called by."""

ADVERBS = r"(?:(?:now|just|also|already|both|all|then|since|duly|today|finally|indeed|so|even|\w+ly)\s+){0,3}"
"""What may stand between the parts of a verb, as a pattern."""

_IRREGULAR = {
    "bring": ("brought",), "buy": ("bought",), "do": ("did", "done"), "get": ("got", "gotten"),
    "give": ("gave", "given"), "let": ("let",),
    "make": ("made",), "pay": ("paid",), "put": ("put",), "send": ("sent",), "set": ("set",),
    "strike": ("struck",), "take": ("took", "taken"),
    "undo": ("undid", "undone"), "withdraw": ("withdrew", "withdrawn"), "write": ("wrote", "written"),
}  # fmt: skip
_ENDS_TWICE = ("l", "t", "p", "r", "g", "n", "m", "b", "d")
_PREFIXES = ("re-", "re", "un", "over")


@dataclass(frozen=True)
class Forms:
    """Words of a set of verbs: as in "to cancel", "cancelled" and "cancelling". A prefix changes no verb's kind."""

    base: frozenset[str]
    past: frozenset[str]
    going: frozenset[str]

    def verb(self, word: str, forms: frozenset[str]) -> str:
        """The word without its prefix if it is one of these forms, else nothing."""
        if word in forms:
            return word
        return next((rest for p in _PREFIXES if word.startswith(p) and (rest := word[len(p) :]) in forms), "")


@lru_cache(maxsize=64)
def forms_of(verbs: tuple[str, ...]) -> Forms:
    """The forms of the usual verbs and of these, each as it is called ("cancel", "update")."""
    base, past, going = set[str](), set[str](), set[str]()
    for verb in {*USUAL, *verbs}:
        base.add(verb)
        stem = verb[:-1] if verb.endswith("e") else verb
        past |= past_of(verb)
        going |= {stem + "ing", stem + stem[-1] + "ing"}
    return Forms(frozenset(base), frozenset(past), frozenset(going))


def past_of(verb: str) -> set[str]:
    """How a verb says that it was done: "cancelled"."""
    return set(_IRREGULAR.get(verb, ())) or _regular(verb, verb[:-1] if verb.endswith("e") else verb)


def _regular(verb: str, stem: str) -> set[str]:
    if verb.endswith("y") and verb[-2:-1] not in "aeou":
        return {verb[:-1] + "ied"}
    twice = {stem + stem[-1] + "ed"} if stem.endswith(_ENDS_TWICE) else set()
    return {stem + "ed", *twice}


def verbs_of(names: Iterable[str]) -> tuple[str, ...]:
    """The verbs by which tools are called: "cancel_booking" cancels."""
    return tuple(sorted({name.split("_")[0] for name in names}))
