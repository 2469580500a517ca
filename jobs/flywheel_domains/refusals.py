"""What a clause refuses: by not being able or allowed, by the word, by a limit, or by what stays as it is."""

from __future__ import annotations

import re
from enum import StrEnum

from flywheel_domains.verbs import ADVERBS, Forms

_UNABLE = re.compile(
    r"\b(?:can(?:no|')t|can not|could(?:n't| not)|unable to|not able to|may not|must(?: not|n't)|not in a position)\b"
)
_NOT = re.compile(
    r"(?:\bnot|n't|\bnever)\s+(?!(?:only|just|need|have to|sure|know|mind|due|yet)\b)(?P<next>(?:[\w'-]+\s*){1,4})"
)
_LACKS = frozenset((
    "allowed", "permitted", "possible", "able", "eligible", "entitled", "available", "option", "offered",
    "covered", "supported", "refundable", "changeable", "transferable", "valid", "qualify", "qualified", "meet",
    "met", "allow", "allows", "permit", "permits", "cover", "satisfy", "successful", "apply", "offer", "match",
    "accept",
    "accepted", "grant", "granted", "something", "reach", "enough", "sufficient", "carried", "feasible", "done",
    "authorised", "authorized", "includes", "include", "included", "provide", "provided", "provides",
))  # fmt: skip
_LACKING = re.compile(r"(?:able|ible)$")
_FREE = frozenset((
    "charged", "billed", "charge", "bill", "lost", "lose", "affect", "affected", "regret", "miss", "worry",
    "take", "need", "use", "free",
))  # fmt: skip
_WONT = re.compile(r"\b(?:won't|will not|would not|wouldn't|will never)\s+(?:be\s+)?(?:\w+ly\s+)?(?P<verb>[a-z-]+)")
_NOBODY = re.compile(
    rf"\b(?:nothing|none|nobody|no)\b(?:\s+(?!one\b)[\w'-]+){{0,4}}?\s+(?:can|could|may|will|has|have|had|was|were|is|"
    rf"are|be|been)\s+(?:be\s+|been\s+)?{ADVERBS}(?P<verb>[a-z-]+)"
)
_NO_WAY = re.compile(
    r"\b(?:there (?:is|are|was|will be)|there's|have|has|gives?|see|with)\s+(?:\w+ly\s+)?no (?:\w+ )?(?:way|"
    r"possibility|options?|exceptions?|right|entitlement|refunds?|credits?|compensation|room|chance|basis|provision|"
    r"grounds?|seats?|stock|means)\b|\bno exceptions?\b|\bno can do\b|\bneither\b|\bhands are tied\b|\bafraid not\b|"
    r"\bnothing doing\b|\bnothing (?:that )?(?:i|we|anybody|anyone) (?:can|could|may) do\b|\b(?:sorry|unfortunately|"
    r"regrettably|sadly),? no\b|"
    r"\bno(?:t)? (?:a |an )?possib|\bnot an option\b"
)
_REFUSES = re.compile(
    r"(?P<word>\b(?:refus(?:e|es|ed|ing|al)|declin(?:e|es|ed|ing)|reject\w*|den(?:y|ied|ies|ying|ial)|prohibit\w*|"
    r"forbid\w*|forbade|disallow\w*|exclud\w+|rul(?:e|es|ed|ing) (?:\w+ ){0,2}out|turn(?:ed|ing)? (?:\w+ ){0,3}down|"
    r"prevent\w*|preclud\w+|block(?:s|ed)|bar(?:s|red)|veto\w*|impossible|unsuccessful|ineligible|unavailable|"
    r"inadmissible|"
    r"unfeasible|infeasible|non-?\w+(?:able|ible)|unrefundable|expired|insufficient|exhausted|sold out|fully booked|"
    r"fall(?:s|ing)? short|fell short|fail(?:s|ed)? to (?:meet|reach|qualify)|used up|off (?:the table|limits)))\b"
)
_BEYOND = re.compile(
    r"\bout of (?:stock|the question|(?:my|our) hands|time)\b|\bagainst (?:\w+ ){0,2}(?:polic\w+|rules?|terms|"
    r"conditions)\b|\b(?:outside|past|beyond)(?: of)? (?:the|our|its|your|that|this) (?:[\w-]+ ){0,3}(?:window|"
    r"deadline|"
    r"period|limit|date|days|hours|policy|time|closing)\b|\btoo (?:late|soon|early|many|old|low|short|few|long|far|"
    r"high)\b|\bexceed\w*|\b(?:over|above|below|under) the (?:\w+ )?(?:limit|quota|maximum|minimum|number|average)\b|"
    r"\b(?:deadline|window|period|time|date|days|clearance|term|nominations?)\b(?: \S+){0,4}? (?:has|have|is|are|was|"
    r"had)(?: \w+)? (?:passed|past|over|closed|elapsed|ended|run out|up|lapsed)\b|\b(?:can|may|could) only\b"
)
_STAYS = re.compile(
    r"\b(?:stay(?:s|ed)?|remain(?:s|ed)?|keep(?:s)?|left|leave)\b (?:(?!else\b|rest\b|others?\b)[\w-]+ ){0,3}"
    r"(?:as (?:it|they|is|before)|un\w+ed|where|"
    r"its|the same|the way|on (?:its|their|that|this))\b|\b(?:stays|remains)$|\b(?:has|have|must|needs?) (?:to "
    r")?(?:stay|remain|keep)\b|"
    r"\b(?:deadline|window|period|term)\b(?: \S+){0,3}? (?:ended|closed|expired|passed|lapsed|ran out)\b"
)
_ENDS_NOT = re.compile(r"\b(?:is|are|was|were|do|does|did|can|could|has|have|may|will)(?: not|n't)$|\bcannot$")
_REFUND = re.compile(
    r"\bno (?:refund|credit|compensation|money|payment|seats?|exception)s? (?:is|are|was|were|can|will)\b"
    r"|\bnot on(?:$| the cards)|\b(?:we|i|they) (?:don't|do not|never) do (?!anything|our|my|the|so)[a-z-]+"
    r"|(?:\bnot|n't) do (?:that|this|it|those|these|so|such)\b"
)
_SHORT = re.compile(
    r"^(?:so |and |then |but |just |though |although )*(?:no|nope|not (?:the|this|that|these|those|your|possible|"
    r"allowed)\b.*)$|^no (?:refunds|returns|exchanges|changes|cancellations|renewals|extensions|exceptions) (?:on|for|"
    r"in|after|at|"
    r"without|with|of|to)\b|^no (?:further )?(?:refund|credit|compensation|change|cancellation|exchange|exception|"
    r"return|"
    r"swap)s?$"
    r"|^(?:(?:sorry|afraid) )?no luck\b|\b(?:say|saying|answer (?:is|remains|(?:has|will have) to be)) no\b|"
    r"(?:\bis|'s) (?:a |going to be a )?(?:firm |hard |definite |clear )?no(?=$| (?:from|to|on|for|i'm|then|there)\b)|"
    r"\b(?:only|none but) (?:the|an?|"
    r"those|\w+s) "
    r"(?:\S+ ){0,6}?(?:may|can|could|must)\b|\balone (?:may|can)\b|\b(?:beyond|outside)(?: of)? (?:what|my|our|the)\b|"
    r"\bnot "
    r"(?:yours|theirs|his|hers)\b"
    r"|(?:\bnot|n't) (?:anything|something|much) (?:i|we|that i|that we) can\b|\bno (?:money|refund|credit) "
    r"(?:comes|goes)\b"
    r"|(?:\bnot|n't) (?:our|my|the) (?:policy|practice|way|custom|habit|place)\b|(?:\bnot|n't) (?:the (?:one|person|"
    r"right \w+) (?:who|to)|up to (?:me|us)|for (?:me|us) to|mine to|ours to|get to)\b"
    r"|\b(?:policy|rules?|practice|custom) (?:is |are )?(?:not|never) to\b"
)
"""Without a verb of its own, or as a way of speaking: "so no", "but not the chair", "no refund"."""
_NO = re.compile(r"^(?:no|nope)(?:$|\s+(?:sorry|i|we|that|this|it|unfortunately)\b)")
_ALONE = re.compile(r"\b(?:can|could|may|is|are|was) no longer (?P<verb>[a-z-]+(?: [a-z-]+)?)")
_FOR_LATER = re.compile(
    r"\b(?:again|undone|reversed|reinstated|brought back|restored|further|another (?:time|change|one|move|refund|swap)|"
    r"else|(?:a )?second time|twice|more than once|from now on|from here on|in (?:the )?future|afterwards|"
    r"after (?:this|that|now)|other \w+s|any other)\b"
)
_LAPSED = re.compile(
    r"\b(?:referral|permit|licen[cs]e|insurance|vouchers?|validity|membership|allowance|quota|repeats?|yours|"
    r"guarantee|warranty|points|miles|coupon|offer|discount|promotion|pass)\b(?: \S+){0,3}? (?:ran out|(?:has|have|"
    r"had) (?:run out|lapsed|ended|finished)|lapsed|ended(?! up)|finished|is over|is out of date)\b|\b(?:which|that|"
    r"and) (?:you|they|he|she) (?:do not|don't|does not|doesn't) (?:have|hold|meet)$|\b(?:do not|don't|does not|"
    r"doesn't) get (?:this|that|these|those|one|it)\b"
)
"""What gave a right and is over, or not there. Beside something done it may be why it was due."""
_NO_MORE = re.compile(rf"\b(?:any ?more|any longer|no longer)\b|{_LAPSED.pattern}")
_OTHER = re.compile(r"\b(?:second|third|other|latter|one|\w*\d\w*)\b")


_ELSEWHERE = re.compile(
    r"\b(?:you(?:'d|'ll| would| will)?|they(?:'d|'ll| would| will)) (?:first |really )?(?:have|need) to (?:"
    r"(?:wait|come back|try again|ask again|call again)(?:$| (?:until|till|when|once|after)\b)(?!.*\b(?:money|refund|"
    r"amount|mail|parcel)\b)|"
    r"(?:go|turn|speak|talk|apply|write) (?:directly |straight )?to|contact|ask the|call the|see (?:the|a)|visit|"
    r"take (?:it|that|this) up with|get in touch with|be (?!careful|sure|patient|aware|there|quick)|"
    r"(?:buy|book|order|make|take out) (?:an? )?(?:new|another|separate)\b)"
)
"""What the caller would have to do or be, where the desk does not do it."""
_LACKED = re.compile(
    r"\b(?:i|we|they)(?:'d| would) (?:first )?(?:need|require) (?!your\b|you\b|the (?:booking|order|reservation)\b)"
    r"(?!(?:\S+ ){0,4}(?:number|name|id|code|date|address|reason|ground|cause|details?|minute|moment|okay|ok|yes|"
    r"confirmation|consent|approval)\b)(?:\S+ ){1,5}?(?:first|before|to do (?:that|this|it|so))\b"
)
_CONDITIONS = (
    r"(?:credit check|referral|permit|licen[cs]e|signature|court order|manager|doctor|prescription|guarantor|guardian|"
    r"visa|certificate)"
)
_OTHERS = re.compile(
    rf"^(?:that|this|it)(?:'d| would) (?:first )?(?:take|need|require) an? (?:\w+ )?{_CONDITIONS}\b"
    r"|^(?:we|the [a-z]+|this [a-z]+|they) only (?:lend|take|accept|offer|do|give|issue|sell|serve|see|book|rent|hire|"
    r"hand|refund|allow|exchange)(?:e?s)?\b"
    r"|\b(?:has|have|must|needs?) (?:to )?be (?:\S+ ){1,5}(?:first|before that|before then)$"
    r"|\b(?:we|they)(?:'ve| have)? (?:stopped|ceased|quit) (?:doing|accept|tak|offer|issu|sell|lend|mak|giv)\w*"
    r"|\bonly (?:the|an?|those|our|\w+s) (?:\S+ ){0,6}?(?:gets?|is allowed|are allowed|has the right) to\b"
    r"|\b(?:it's|it is|that's|that is) (?:only )?(?:for )?(?:the|an?) (?:[\w-]+ ){1,4}?(?:who|that|to) "
    r"(?:has to|have to|must|decides?|may|can|gets? to|decide|settle)\b"
    r"|\b(?:is|are) (?:reserved |meant |kept |intended )?for (?!you\b|now\b|today\b)(?:[\w-]+ ){1,5}only$"
    r"|\b(?:is|are) (?:reserved|kept|meant|intended) (?:only )?for (?:(?:our|the) )?(?!(?:days|weeks|hours|nights)\b)"
    r"(?:[a-z]+s|people|staff)$"
)
_SPENT = re.compile(
    r"\b(?:have|'ve|has|had) (?:already )?used (?:up )?(?:all|both|every)\b"
    r"|\b(?:hit|reached|met|at|over) (?:its|the|your|their|our|his|her) (?:[\w-]+ ){0,2}(?:cap|limit|maximum|max|"
    r"ceiling|quota)\b"
    r"|\b(?:allowance|quota|limit|cap|entitlement|renewals?|budget|maximum)\b(?: \S+){0,3}? (?:is|are|has been|"
    r"have been|was) (?:already |all |now )*(?:gone|used(?: up)?|spent|reached|met|full)\b"
    r"|\bthere(?:'s| is) no (?:getting (?:a?round|past|out)|going back|arguing|undoing|moving|changing|cancelling|"
    r"swapping)\b"
    r"|\b(?:comes?|sold) (?:without|with no) (?:any )?(?:changes?|refunds?|returns?|exchanges?|cancellations?|right)\b"
    r"|\b(?:sales?|items?|fares?|tickets?|purchases?|decision|orders?|that) (?:is|are) final\b"
    r"|\b(?:fees?|charges?|fines?|decision|rules?|penalty) (?:still )?(?:stands?|has to stand|have to stand)\b"
    r"|\bthe (?:earliest|soonest)(?: \w+)? (?:we|i|you|that|this|it) (?:can|could|may|might|would)\b.* (?:is|would be)"
    r"(?:$| (?:after|once|when)\b)"
)
_FIRST = re.compile(
    r"\byou(?:'d| would|'ll| will) first (?:have|need) to (?!give|tell|say|name|confirm|choose|pick|show|provide|let)\w"
    r"|\byou(?:'d| would)? (?:have|need) to (?!give|tell|say|name|confirm|choose|pick|show|provide|let)[^?]* first$"
    r"|\byou(?:'d| would|'ll| will)? (?:have|need) to (?:raise|sort|settle|discuss|arrange|clear|"
    r"take) (?:\S+ ){0,3}?(?:up )?"
    r"with\b|\bthe only (?:ones?|person|people|place|way|desk|branch|office|case|situation) (?:who|that|where|to|in)\b"
    r"|\b(?:class|fare|ticket|plan|tariff|card|membership|policy|contract|licen[cs]e) (?:has|gives|carries|includes|"
    r"covers) no\b|\b(?:has|have|'ve) (?:already )?had (?:both|all)\b"
    r"|\b(?:lets?|allows?|gives?|takes?|serves?|sees?|accepts?) (?:nobody|no one|no-one|none|nothing)\b"
)
_IMPLIED = (_FIRST, _ELSEWHERE, _LACKED, _OTHERS, _SPENT)
"""What leaves no way without the word for it. Beside something done it may be of what comes after."""
_REFUSALS = (_SHORT, _UNABLE, _NO_WAY, _BEYOND, _STAYS, _NO, _ENDS_NOT, _REFUND, _LAPSED)


class Refusal(StrEnum):
    PLAIN = "plain"
    NO_MORE = "no more"
    LATER = "later"


def refusal(clause: str, forms: Forms) -> Refusal | None:
    """Whether a clause refuses, and how: of what is wished, of it "any more", or of what may be wished later."""
    if not _refuses(clause, forms):
        return Refusal.NO_MORE if any(pattern.search(clause) for pattern in _IMPLIED) else None
    if _FOR_LATER.search(clause):
        return Refusal.LATER
    if _NO_MORE.search(clause) and not _OTHER.search(clause):
        return Refusal.NO_MORE
    return Refusal.PLAIN


def _refuses(clause: str, forms: Forms) -> bool:
    if any(pattern.search(clause) for pattern in _REFUSALS):
        return True
    refused = _REFUSES.search(clause)
    if (
        refused is not None
        and refused["word"] not in forms.past  # to block a card is what the desk does
        and not re.search(
            r"(?:\bnot|n't|\bnever)\s+(?:been |be |\w+ly )?$|\b(?:can|could|may) be $", clause[: refused.start()]
        )
    ):
        return True
    if any(_lacks(match["next"].split(), forms) for match in _NOT.finditer(clause)):
        return True
    words = [match["verb"] for pattern in (_WONT, _NOBODY) for match in pattern.finditer(clause)]
    words += [word for match in _ALONE.finditer(clause) for word in match["verb"].split()]
    return any(_deedless(word, forms) for word in words)


def _lacks(words: list[str], forms: Forms) -> bool:
    """Whether what follows "not" is a wish, or what a wish would need: "allowed", "been cancelled", "refundable"."""
    for word in words:
        if word in _FREE or word in ("that", "because", "and", "when") or (word == "to" and "going" not in words):
            return False
        if _deedless(word, forms):
            return True
    return False


def _deedless(word: str, forms: Forms) -> bool:
    known = word in _LACKS or (_LACKING.search(word) is not None and len(word) > 5)
    return word not in _FREE and (known or bool(forms.verb(word, forms.base) or forms.verb(word, forms.past)))
