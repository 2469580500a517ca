"""What a clause says was done: by the desk itself, or, in the passive, done at all.

A passive may also describe what was so before ("it was cancelled last week"), be supposed, wished or denied: then it
says nothing of what was done now.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from flywheel_domains.verbs import ADVERBS, Forms

_REASON = re.compile(
    r"^(?:(?:and|but|so|only|just)\s+)*(?:because|since|as|although|though|while|after|given|seeing|who|which|whose)\b"
)
_DESK = r"(?:i|we|(?:our|the) (?:team|office|desk|system|staff|department|colleagues?))"
_ACTIVE = re.compile(
    rf"(?P<neg>\bnot (?:only )?)?\b{_DESK}(?:'ve|'d| have| had| has)?\s+{ADVERBS}(?:went ahead and |gone ahead and |"
    rf"been able to |(?:was|were) able to |managed to |succeeded in )?{ADVERBS}(?P<verb>[a-z-]+)(?P<after>(?: "
    rf"\S+){{0,4}})"
)
_INVERTED = re.compile(rf"\b(?:have|has) (?:i|we)\s+{ADVERBS}(?P<verb>[a-z-]+)(?P<after>(?: \S+){{0,4}})")
_GOT = re.compile(
    rf"\b{_DESK}(?:'ve| have)?\s+{ADVERBS}(?:got|had|managed to (?:get|have))\s+(?:\S+\s+){{1,4}}?(?P<verb>[a-z-]+ed)\b"
)
_DID = re.compile(
    rf"\b{_DESK}(?: have|'ve)? {ADVERBS}(?:did|done) (?:the|your|that|this|both) (?:[\w-]+ )?(?:transfer|swap|change|"
    r"renewal|refund|booking|cancellation|exchange|upgrade|extension|update|order|return|payment|move)s?\b"
)
_THEN = re.compile(rf"\b(?:and|then)\s+{ADVERBS}(?P<verb>[a-z-]+)(?P<after>(?: \S+){{0,4}})")
_STARTS_DESK = re.compile(rf"\b{_DESK}(?:'ve| have)?\s+(?!(?:would|could|can|will|should|may|might|shall|am|was)\b)\w")
_PASSIVE = re.compile(
    rf"(?P<aux>\b(?:is|are|am|was|were|gets?|got|has|have|had|been)|'s|'re|'ve)\s+{ADVERBS}"
    rf"(?:(?P<been>been)\s+{ADVERBS})?(?P<verb>[a-z-]+)(?P<after>(?: \S+){{0,4}})"
)
_NOUN = 5
"""Words before the participle of a headline at most: "Booking 31 cancelled"."""
_CONFIRMED = re.compile(
    r"^(?:[\w#-]+ ){0,3}(?:\w+(?:tion|ment|al)|refund|change|swap|move|update|order|return|exchange|upgrade|booking) "
    r"(?:now )?(?:confirmed|complete|successful|finished)$"
)
_FINITE = re.compile(
    r"\b(?:is|are|was|were|be|been|being|has|have|had|can|cannot|could|will|would|may|might|must|should|shall|do|does|"
    r"did|not|no|never|to|if|a|an|any|every|each|who|which|that|i|we|you|they|it|already|by|stays?|remains?|goes|"
    r"please|let)\b|n't|'s|'ve|'ll|'re|'d"
)
_FINISHED = re.compile(
    rf"\b(?:is|are|was|were|been|'s|'re)\s+{ADVERBS}(?:complete|completed|done|finished|sorted|settled|successful|"
    r"confirmed|through|in place|effective|all set|taken care of|dealt with|seen to|good to go|gone|called off)\b"
    r"(?!\s+(?:by|about|ago))|(?<=s been )(?:taken care of|dealt with|sorted)\b"
)
_CONSIDERED = re.compile(r"\bconsider (?:it|that|this|them) (?:as )?([a-z-]+)\b")
_THROUGH = re.compile(
    r"\b(?:went|gone|came|has come|have come) through\b|\b(?:has|have) (?:now |just )?gone (?:out|off|in)\b|"
    r"\b(?:you're|you are) (?:all )?now down for\b"
    r"|\byou(?:'re| are) (?:now )?(?:on|in|off|down for) \S+(?: \S+){0,5} now$|\byou(?:'re| are) now (?:on|in|off) "
    r"|(?:'s|\bis|\bare) (?:now )?on (?:the|your) (?:\w+ )?(?:contract|list|booking|reservation|loan|account|bill|"
    r"policy|order) now$|(?:'s|\bis|\bare) now on (?:the|your) (?:\w+ )?(?:contract|list|booking|reservation|loan|"
    r"account|bill|policy|order)\b"
    r"|(?:'s(?: [\w-]+){0,2}|\bis|\bare) (?:now )?off (?:the|your|our) (?!table|limits|menu|clock|premises)"
)
_MONEY_BACK = re.compile(
    rf"\b(?:refund|money|credit|amount|difference)\b(?: \S+){{0,3}} (?:is|are|has been|was)\s+{ADVERBS}"
    r"(?:on (?:its|the|their) way|coming back|coming to you|underway|under way)|\b(?:refund|money|credit|amount)'s on"
)
_NOW = re.compile(r"^(?:so |and )*(?:your|the|it)\b(?: [\w-]+){0,4} now (?:starts|begins|ends|runs|covers|includes)\b")
_THATS = re.compile(
    r"\bthat's (?:the|your) (?:(?!(?:you|i|we|they|he|she|that|which|was|were|is|has|had|been)\b)[\w-]+ ){1,3}"
    r"(?P<last>[a-z-]+)$|\bthat's (?:you|him|her|them|us|it|everything|both) (?:all |now |both )*(?P<verb>[a-z-]+)\b"
)
_SET = re.compile(
    rf"^(?:(?:and|yes|ok|okay|great|perfect|so|now|well|right|there)\s+)*"
    rf"(?:(?:it|that|this|everything|you|we|all)(?:'s|'re| is| are)(?: been)?\s+)?{ADVERBS}"
    r"(?:done|completed|all (?:set|done|sorted)|sorted|finished|fixed|taken care of)\b(?!\s+(?:my|all|everything|what))"
)
_IDLE = re.compile(
    r"^ (?:sure|certain|a note|note|clear|it clear|an? (?:attempt|effort|mistake|error|look|enquiry|check)|every|"
    r"my best|into account|your (?:call|word|time|details|request into)|a moment|the (?:time|liberty|policy|rules?)|"
    r"you (?:the|a|an|all|my|our)? ?(?:details?|information|answer|reasons?|explanation|link|policy|rules?)|"
    r"(?:everything|all|what) (?:i|we|that i|that we) (?:can|could)|on |up |in touch|you for|you to|you about|"
    r"advantage)"
)
"""What may follow a verb of deeds and makes none of it: "I have made sure"."""
_CEASED = re.compile(r"(?:stopped|finished) [a-z]+ing\b")
LIGHT = frozenset((
    "made", "gave", "given", "sent", "set", "put", "took", "taken", "applied", "entered", "used", "saved",
    "asked", "carried",
))  # fmt: skip
_HYPOTHETICAL = re.compile(
    r"(?:\b(?:would|could|should|might|may|must|can|cannot|will|shall|to|wish|thought|if|whether|unless|without|not|"
    r"never|hardly|nor|neither|nearly|almost|barely|than|before|until|having|being)|'d|'ll|n't)\W+(?:\w+\W+)?$"
)
NEGATIVE = re.compile(r"\b(?:nothing|none|no|neither|nobody|nor|without|never|not|hardly|few)\b|n't\b")
_EARLIER = re.compile(
    r"\b(?:already|yet|still|(?<!moment )(?<!minute )(?<!minutes )ago|yesterday|earlier|originally|previously|"
    r"formerly|before|last|in the past|at the time|"
    r"once|when|since|always|usually|normally|never|by (?!me\b|us\b|our\b|now\b|(?:an?|one|two|three|four|five|six|"
    r"\d+) (?:\w+ )?(?:minutes?|hours?|days?|nights?|weeks?|months?|years?)\b)\w+|in (?:january|february|march|april|"
    r"may|june|july|august|september|october|november|december))\b"
)
_MEASURED = re.compile(r"\b(?:more than|less than|within|over|only|up to)\b")
"""What was so at some distance, or is so under a condition: not said of what has just been done."""
_WHEN_MADE = re.compile(r"\b(?:on|in|at|with|as|for) ")
_OF_ITSELF = re.compile(r"(?:shipped|dropped|increased|decreased|shifted|posted|bumped|pushed|popped|slotted|mailed)$")
"""What things do without a desk: a participle of these claims a deed only in the passive or alone."""
_MAKING = frozenset((
    "dispatched", "posted", "shipped", "mailed", "raised", "dropped",
    "made", "booked", "ordered", "placed", "reserved", "sent", "paid", "opened", "issued", "given", "put",
    "entered", "used", "returned",
))  # fmt: skip
_SEEN = re.compile(
    r"\b(?:see|saw|seen|found|find|notice[d]?|understand|shows?|showing|says?|know|hear|heard|learn(?:ed|t)?|appears?|"
    r"looks?|seems?|according|marked|listed|recorded|records?|remember|regret that|policy|rules?)\b"
)
_RELATIVE = re.compile(
    r"(?:\b(?:which|who|what|whatever|whose \w+)|\b(?!(?:confirm|say|note|sure|tell you)\b)\w+ that)\s*$"
)
_GENERIC = re.compile(
    r"^(?:(?:and|but|so|only|as|because|since)\s+)*(?:an?|any|every|each|all \w+s|no|such|most|some|other|those who|"
    r"what|whoever|whatever|(?!(?:the|your|my|our|both|these|those|its|his|her|their|you|two|three|four)\b)"
    r"(?:[a-z]+ ){0,2}[a-z]+s(?= are\b| get\b| have\b))\b"
)
_FOR_OTHERS = re.compile(r"^ (?:only )?for (?:our |the )?(?:[a-z]+s|people|staff)(?: only)?$")
STRONG = re.compile(r"\b(?:now|just|successfully|hereby|today|for you|as requested|as agreed|as asked|as wished)\b")


def done(clause: str, forms: Forms, asked: str) -> tuple[bool, set[str]]:
    """Whether the desk says of itself that it did something, and participles of what else is said to be done."""
    for pattern in (_ACTIVE, _INVERTED):
        for match in pattern.finditer(clause):
            if _deed(match, forms, clause[: match.start()]):
                return True, set()
    if (_GOT.search(clause) or _DID.search(clause)) and not _SEEN.search(clause):
        return True, set()
    start = None if NEGATIVE.search(clause) else _STARTS_DESK.search(clause)
    if start is not None and any(_deed(match, forms, "") for match in _THEN.finditer(clause, start.end())):
        return True, set()
    return False, set(_states(clause, forms, asked))


def _deed(match: re.Match[str], forms: Forms, before: str) -> bool:
    word = match["verb"]
    able = re.search(r"\b(?:able to|managed to) (?:\w+ly )?[a-z-]+$", match[0][: match.end("verb") - match.start()])
    verb = forms.verb(word, forms.base if able else forms.past)
    idle = _IDLE.match(match["after"]) if word in LIGHT | {"done"} else _CEASED.match(word + match["after"])
    if not (verb or word == "done") or idle:
        return False
    return not (_HYPOTHETICAL.search(before) and not match.groupdict().get("neg"))


def _states(clause: str, forms: Forms, asked: str) -> Iterator[str]:
    reason = _REASON.match(clause) is not None
    for match in _PASSIVE.finditer(clause):
        verb = forms.verb(match["verb"], forms.past)
        if match["aux"] in ("has", "have", "had", "'ve") and not match["been"]:
            continue  # active: somebody else has done it
        if verb and not (match["verb"] in LIGHT and _IDLE.match(match["after"])):
            before = clause[: match.start()]
            if _claims(clause, before, match, reason, asked):
                yield match["verb"]
    considered = _CONSIDERED.search(clause)
    if considered is not None and (considered[1] == "done" or forms.verb(considered[1], forms.past)):
        yield considered[1]
    thats = _THATS.search(clause)
    if thats is not None and forms.verb(thats["verb"] or thats["last"], forms.past):
        yield thats["verb"] or thats["last"]
    for pattern in (_NOW, _FINISHED, _MONEY_BACK, _THROUGH, _SET):
        found = pattern.search(clause)
        if found is not None:
            before = clause[: found.start()]
            if _claims(clause, before, found, reason, asked):
                yield "done"
    if not reason:
        yield from _headline(clause, forms)


def _headline(clause: str, forms: Forms) -> Iterator[str]:
    """A participle without a finite verb: "Cancelled!", "Booking 31 cancelled", "refunded your card"."""
    words = clause.rstrip(":").split()
    if clause.endswith(":") and len(words) == 1:
        return  # a label: "paid: 40 EUR"
    if _CONFIRMED.match(clause):
        yield "done"
    place = next((n for n, word in enumerate(words[:_NOUN]) if forms.verb(word, forms.past)), None)
    if place is None:
        return
    after = words[place + 1 :]
    after = after[1:] if after[:1] in (["you"], ["it"], ["them"], ["to"]) else after
    if _FINITE.search(" ".join((*words[:place], "-", *after))):
        return
    word = words[place]
    if place and _OF_ITSELF.match(word):
        return  # "your order shipped on Monday"
    if (word.endswith("ed") or word in ("sent", "undone", "withdrawn", "paid")) and not _EARLIER.search(clause):
        yield word


def _claims(clause: str, before: str, match: re.Match[str], reason: bool, asked: str) -> bool:
    """Whether a passive says that something was done now, and does not describe what was so before."""
    if _HYPOTHETICAL.search(before) or NEGATIVE.search(before):
        return False
    if STRONG.search(clause) and not _SEEN.search(before):
        return not _RELATIVE.search(before) or " now " in match[0] or " just " in match[0]
    word = match.groupdict().get("verb", "")
    past = match.groupdict().get("aux") in ("was", "were", "'s", "had", "been")
    describes = (
        reason
        or _EARLIER.search(clause)
        or (not match.groupdict().get("been") and _MEASURED.search(clause))
        or _SEEN.search(before)
        or _RELATIVE.search(before)
        or _GENERIC.match(clause)
        or _FOR_OTHERS.match(match.groupdict().get("after") or "")
        or (past and not asked and word in _MAKING and _WHEN_MADE.search(match.groupdict().get("after") or ""))
    )
    return not describes
