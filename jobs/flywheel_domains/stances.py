"""What a text says about a wish: done, refused, handed over, promised, or nothing of the kind.

English is read clause by clause, by what a clause is and not by single words: who is said to have done what, in which
tense, and whether it is negated, supposed, asked, offered, or the caller's own words. So "sorry" refuses nothing, "I
could cancel it" does nothing, and one text may say done of one wish and refuse another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from flywheel_domains.deeds import LIGHT, NEGATIVE, STRONG, done
from flywheel_domains.refusals import Refusal, refusal
from flywheel_domains.verbs import ADVERBS, Forms


class Stance(StrEnum):
    """What a text says about a wish."""

    DONE = "done"
    DENIED = "denied"
    LIMITED = "limited"  # "it can no longer be changed" beside something done: of that, or a refusal of another wish
    PROMISED = "promised"
    HANDED = "handed"
    ASKS = "asks"


@dataclass(frozen=True)
class Reading:
    """The stances of a text, and what it says is so of each thing that it does not claim to have done itself.

    `acted`: somebody of the desk says that they did something. `states`: participles of what is said to be done
    ("is cancelled"), which may be the state of a row as well.
    """

    stances: frozenset[Stance] = frozenset()
    acted: bool = False
    states: frozenset[str] = frozenset()


NOTHING = Reading()

# ---- from a text to its clauses

_QUOTED = re.compile(r"[\"“”«»][^\"“”«»]{0,400}[\"“”«»]")
_BLANKS = re.compile(r"\s{2,}")
_SENTENCE = re.compile(r"(?<=[.!?])[\"”')\]]*\s+|\n+|;\s+|(?<=:)\s+|\s+[-–—]+\s+|\s*—\s*")
_OWN = (
    r"(?:i|we|it|its|that|this|these|those|they|you|he|she|your|the|our|my|both|everything|all|nothing|none|neither|"
    r"nor|no|there|please|each|everyone|nobody|someone|somebody)(?=\b)"
)
"""A word that opens a clause with a subject of its own."""
_CLAUSE = re.compile(
    rf",\s+|,?\s+(?:but|yet|whereas)\s+|,?\s+(?:and|so|or|hence|therefore|thus|then)\s+(?={_OWN})"
    rf"|\s+(?=(?:because|since|although|though|as|if|unless|once|when|whenever|until|till|before|after|while|whether|"
    rf"in case|as soon as|provided) {_OWN}(?! (?:is|are|was|were)(?:$|[ .!])))",
)
_QUESTION = re.compile(
    r"^(?:(?:so|and|or|then|now|well|but|please|sorry|also|otherwise|alternatively|just to confirm|to be sure)\s+)*"
    r"(?:shall|should|can|could|would|will|may|might|must|do|does|did|is|are|am|was|were|has|have|had|what|which|when|"
    r"where|who|whom|whose|why|how|any|anything|ok|okay|right|alright|agreed|correct|yes|no|if|for|in|at|on|to|is it)"
    r"\b|n't (?:it|you|that|they|we|i)$"
)
_SUPPOSED = re.compile(
    r"^(?:(?:and|or|so|then|only|even|but)\s+)*(?:if|unless|once|when|whenever|until|till|before|in case|"
    r"as soon as|provided|providing|assuming|suppose|supposing|whether|as if|as though|"
    r"(?:were|had|should)(?= (?:i|we|you|he|she|it|they|this|that|there|the|your|my)\b)|"
    r"without|to)\b(?!\s+(?:sum|be clear|be honest|confirm))"
)
_THEIRS = re.compile(
    r"\b(?:when |that |since |because |if |what |which |whether )?you(?:'ve|'d| have| had)?(?: just| also| "
    r"originally)? "
    r"(?:said|say|told|wrote|write|mention(?:ed)?|ask(?:ed)?|want(?:ed)?|wish(?:ed)?|request(?:ed)?|claim(?:ed)?|think|"
    r"thought|believe[d]?|mean|meant|expect(?:ed)?|report(?:ed)?|would like|hoped|needed|need(?! to\b))\b"
)
_AS_ASKED = re.compile(
    r"\b(?:just |exactly )?(?:as|like|what|that|which|the way|than|whatever) you(?:'ve|'d| have| had)? (?:just )?"
    r"(?:asked|requested|wished|wanted|said|named|gave|chose|told me|told us|mentioned|expected)(?: for| to| me to)?\b"
    r"(?!\s+(?:it|that|your|the|my|her|his|she|he|i)\b)"
)
_POLITE = re.compile(
    r"\bno (?:problems?|worries|trouble|matter|doubt|hard feelings|hassle|need|extra|further|additional|charges?|fees?|"
    r"costs?|action|rush|hurry|issues?|bother|wonder)\b|\bnot (?:a|any) (?:problem|bother|hassle|issue|trouble)\b"
    r"|\bnot at all\b|\b(?:do not|don't|never|please don't) (?:hesitate|worry|forget|mention)\b|\bnever hurts\b"
    r"|\bcan(?:'t|not| not) (?:thank|wait|stress|recommend|imagine|apologi[sz]e|complain|help but|go wrong)\b"
    r"|\bcould(?:n't| not) (?:be (?:happier|easier|simpler|better)|agree more|resist)\b|\bif (?:that's|that is) all"
    r"(?: right)?\b|\bif you (?:like|wish|please)\b|\bwith no\b|\bnot only\b|\bnothing (?:more|further|else)\b"
)


_CONDITION = re.compile(
    r"^(?:(?:and|or|so|then|only|but)\s+)*(?:if|unless|once|when|whenever|until|till|in case|as soon(?: as)?|provided|"
    r"providing|assuming)\b(?! (?:more|again)\b)"
)
_BIDS = re.compile(
    r"^(?:(?:just|simply|only|please|and|so|now|then)\s+)*(?:give (?:me|us) (?:the|your|a) |say (?:yes|so|the word|"
    r"go)\b|"
    r"(?:confirm|agree|approve)(?:$| (?:it|this|that)$)|(?:reply|answer|type)(?: with)? yes\b|nod\b)"
)
"""What is asked of the caller before something comes true: "say yes and it's cancelled"."""
_AT_PRESENT = re.compile(r"(?:\b(?:is|are|gets?)|'s|'re)\s+(?!been\b)")


def narrow(text: str) -> str:
    """A text without runs of blanks: what looks for a break in one from each of its places takes ages."""
    return _BLANKS.sub(lambda run: "\n" if "\n" in run[0] else " ", text)


def sentences(text: str) -> list[str]:
    """The sentences of a text, in time that grows as it does."""
    return _SENTENCE.split(narrow(text))


def clauses(text: str) -> Iterator[tuple[str, bool, bool]]:
    """The clauses of a text in small letters; whether each is a question; whether its sentence has a condition."""
    for sentence in sentences(_unquoted(narrow(text.casefold()))):
        asks = sentence.rstrip(" \"')").endswith("?")
        parts = [part.strip(" .!?\"'()*_") for part in _CLAUSE.split(sentence)]
        parts = [part for part in parts if part]
        opened, condition = False, any(_CONDITION.match(part) or _BIDS.match(part) for part in parts)
        for number, part in enumerate(parts):
            # what stands before a question in the same sentence was said all the same: "I have done it, all right?"
            opened = opened or (asks and (_QUESTION.search(part) is not None or number == len(parts) - 1))
            own = number == 0 and len(parts) == 1 and re.match(r"(?:i|we)\b", part) and not _QUESTION.search(part)
            yield part, opened and not own, condition


def _unquoted(text: str) -> str:
    """Without what is quoted of the caller or the policy; what stands in quotes for itself is said."""

    def cut(match: re.Match[str]) -> str:
        before = text[max(0, match.start() - 40) : match.start()]
        quoted = re.search(r"\b(?:said|say|says|wrote|asked|words?|mentioned|reads|states?|policy|rule)\b\W*$", before)
        return " " if quoted else match[0]

    return _QUOTED.sub(cut, text)


# ---- colleagues, promises

_WHO = (
    r"(?:colleagues?|human|agent|specialist|supervisor|manager|secretary|team|someone|somebody|department|office|desk|"
    r"accounts|dispatch|expert|representative|person)"
)
_SUMS = r"(?:money|refund|amount|funds|balance|payment|fee|sum|\d)"
_HANDED = re.compile(
    rf"\b(?:i|we)(?:'ve|'m|'re|'ll| have| am| are| will| had)?\s+{ADVERBS}(?:hand|pass|transfer|escalat|forward|refer|"
    rf"connect|rout|put|turn)\w*\s+(?:(?!{_SUMS})\S+\s+){{0,5}}?(?:over|on to|through(?<!it through)"
    rf"(?<!that through)(?<!this through)(?<!them through)(?<!put through)|to (?:\S+\s+){{0,3}}?{_WHO})\b"
    rf"|\b(?:i|we)(?:'ve|'m| have| am| will|'ll)?\s+{ADVERBS}(?:escalat\w+|transferr?(?:ed|ing)? you)\b"
    rf"|\b(?:you|this|it|case|request|matter)(?:'re|'s|'ll| are| is| will| has| have)?(?: now)?(?: being| be| been|"
    rf" get)? "
    rf"(?:being )?(?:transferred|handed over|put through|connected|passed on|escalated|forwarded)\b"
    rf"|\b{_WHO}\b(?: (?:from|of|in) (?:\S+ ){{1,3}}?)?\s*(?:will|'ll|is going to|is taking|takes|has taken|is on)\b"
    rf"|\bi(?:'ve| have) (?:asked|informed|involved) an? {_WHO}\b"
)
_PROMISE = re.compile(
    rf"\b(?:i|we)(?:'ll| will| shall|'m going to| am going to|'re going to| are going to)\s+{ADVERBS}(?P<base>[a-z-]+)"
    rf"|\b(?:will|'ll|shall|going to)\s+{ADVERBS}be\s+{ADVERBS}(?P<past>[a-z-]+)"
    rf"|\b(?:i'm|i am|we're|we are|is being|are being)\s+{ADVERBS}(?P<going>[a-z-]+)"
    r"|\byou(?:'ll| will) (?:get|receive|have|find|see) (?:\S+ ){0,3}(?P<money>refund|money back|credit|compensation)"
)
_NO_PROMISE = LIGHT | {"give", "make", "put", "set", "take", "send", "process", "apply", "submit", "ask", "use", "save",
                        "carry", "sort", "asking", "processing", "sending", "taking", "making", "putting"}  # fmt: skip
_WHEN = re.compile(r"\b(?:if|unless|once|when|until|before|provided|as soon as|in case|would|need)\b")


def _promises(clause: str, forms: Forms) -> bool:
    for match in _PROMISE.finditer(clause):
        if match["money"]:
            return True
        word = match["base"] or match["past"] or match["going"]
        kinds = forms.base | forms.past | forms.going
        if word not in _NO_PROMISE and forms.verb(word, kinds):
            return True
    return False


# ---- the whole


def stances(text: str, forms: Forms) -> Reading:
    """What a text says about wishes; its own `forms` are those of the domain's verbs beside the usual ones."""
    found: set[Stance] = set()
    refusals: set[Refusal] = set()
    acted, states = False, set[str]()
    supposed = _WHEN.search(text.casefold()) is not None
    for raw, asks, condition in clauses(text):
        if asks:
            found.add(Stance.ASKS)
            continue
        asked = "asked" if _AS_ASKED.search(raw) or STRONG.search(raw) else ""
        clause = _POLITE.sub(" ", _AS_ASKED.sub(" as asked ", raw))
        theirs = _THEIRS.search(clause)
        clause = (clause[: theirs.start()] if theirs else clause).strip(" ,")
        if not clause or _SUPPOSED.match(clause):
            continue
        no = refusal(clause, forms)
        if no is not None:
            refusals.add(no)
        elif _HANDED.search(clause) and not NEGATIVE.search(clause):
            found.add(Stance.HANDED)
            continue
        by_desk, so = done(clause, forms, asked)
        if condition and _AT_PRESENT.search(clause) and not STRONG.search(clause):
            so = set()  # "once you agree, it is cancelled"
        acted, states = acted or by_desk, states | so
        if no is None and not supposed and _promises(clause, forms) and not NEGATIVE.search(clause):
            found.add(Stance.PROMISED)
    if acted or states:
        found.add(Stance.DONE)
    found |= set(_refused(refusals, Stance.DONE in found))
    return Reading(frozenset(found), acted, frozenset(states))


def _refused(refusals: set[Refusal], done: bool) -> Iterator[Stance]:
    """Beside something done, what is refused "again" or "any more" may be what comes after it."""
    if Refusal.PLAIN in refusals or (refusals and not done):
        yield Stance.DENIED
    elif Refusal.NO_MORE in refusals:
        yield Stance.LIMITED
