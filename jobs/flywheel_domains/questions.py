"""What the agent asks: whether to go on with what it read out, or what else there is to do."""

from __future__ import annotations

import re

from flywheel_domains.stances import SENTENCE

_CONSENT = re.compile(
    r"\b(?:shall (?:i|we)|should (?:i|we)|(?:may|can) (?:i|we) (?!have|ask|know|help|get|see)|do you (?:want "
    r"(?!help|any)|"
    r"agree|confirm|consent)|would you like (?:me|us|to|that|this|it)|go ahead|proceed|are you (?:sure|happy|fine|"
    r"ok|okay)|"
    r"is (?:that|this|it|everything) (?:all )?(?:right|ok|okay|alright|fine|correct)|confirm|agree|consent|yes or no)\b"
    r"|\b(?:ok|okay|alright|all right|right|correct|sounds? good|fine|agreed)\s?\?"
)
_MORE = re.compile(
    r"\b(?:anything else|something else|else (?:can|may) i|(?:further|more|any) help|help you|of help)\b"
)
_NEEDS = re.compile(
    r"^(?:\w+ ){0,2}(?:which|what|when|where|who)\b|\b(?:confirm|tell|give|provide|verify) (?:me |us )?(?:your|the) "
    r"(?:\w+ ){0,3}(?:number|name|id|code|date|address|e-?mail|reason|ground|cause)\b(?! to\b)"
)


def asks_consent(text: str) -> bool:
    """Whether somebody asks to be told to go on: "Shall I go ahead?", and not "Do you want help?"."""
    return any(
        _CONSENT.search(sentence) and not _MORE.search(sentence) and not _NEEDS.search(sentence)
        for sentence in SENTENCE.split(text.casefold())
    )


def offers_more(text: str) -> bool:
    """Whether somebody asks what else there is to do: "Is there anything else?"."""
    return _MORE.search(text.casefold()) is not None
