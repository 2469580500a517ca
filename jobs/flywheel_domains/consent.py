"""Whether a caller's reply says yes to what was read out, in whatever words; "yes, but ..." is none.

A wrong yes pays for a write that nobody agreed to, a wrong no leaves a right agent unpaid: where a reply holds back,
asks for the price first or takes its yes back, it is no yes.
"""

from __future__ import annotations

import re

from flywheel_domains.stances import narrow

_KIND = re.compile(
    r"\b(?:no|not a|not any|without any|haven't (?:any|got any)) (?:more |further |other )?(?:problems?|worries|worry|"
    r"trouble|rush|hurry|issues?|doubt|objections?|questions?|need(?: to \w+)?|complaints?)\b|\bnothing (?:else|more)\b"
    r"|\b(?:don't|do not|wouldn't|would not) (?:mind|object)\b|\bnot at all\b|\bcan(?:'t|not) wait\b"
    r"|\bif you (?:would|could|please|can|don't mind|like|will|must)\b|\bwhat (?:else|about(?! (?:the|a|any|your) "
    r"(?:\w+ )?(?:fees?|price|costs?|charges?)\b)|a (?:relief|pity))\b"
    r"|\b(?:don't|do not) (?:worry|forget)\b|\bno\.? ?(?=\d)"
)
"""Words that hold nothing back, though one of them alone would."""
_HOLDS = re.compile(
    r"\b(?:no|nope|nah|nay|never|(?<!why )not|neither|nothing|none|nobody|cannot|without|but|however|unless|unsure|"
    r"otherwise|"
    r"actually|instead|rather|prefer|depends|doubt|refuse|decline|disagree|wrong)\b|n't\b|\bonly (?:if|when|as long)\b"
    r"|\b(?:if|unless|provided|as long as|so long as|on condition|assuming)\b|\bhold (?:on|off|it|your)\b|\bhang on\b"
    r"|\bi'm (?:good|all set|fine)(?=$|[,.!]| thanks| thank you)"
    r"|\bi(?:'ll| will) (?:call|ring|come back|think|leave|keep|try|check|get back|ask|let you)\b"
    r"|(?:^|[,.;!-] *|\bplease )(?:wait|stop|one (?:moment|second|sec|minute)|just a (?:moment|second|sec|minute))\b"
    r"|\b(?:forget|leave|drop|keep|skip) (?:it|that|this|everything)\b|\b(?:think|sleep) (?:it over|about it|on it)\b"
    r"|\b(?:changed my mind|on second thoughts?|thanks anyway|thank you anyway|too bad|though|opposite|supervisor)\b"
    r"|\blet (?:me|us) (?:think|ask|check|see|look|talk|speak|consult|sleep)\b|\b(?:tell|read|explain to) me (?:the"
    r"|what|how|"
    r"more|about|all|again|why|your)\b|\bget me (?:your|the|a) \w+|\b(?:want|like|love|need) to (?:know|hear|speak"
    r"|talk|"
    r"understand)\b|\b(?:speak|talk) (?:to|with)\b|\b(?:i|we)(?:'ll| will)? (?:keep|leave|stay|live with|manage)\b"
    r"|(?:^|[,.;!-] *)(?:and )?(?:leave|keep) (?:my|the|it|things?)\b|\b(?:another|a different) (?:day|date|time|one)\b"
    r"|\band (?:what|how much)\b|\b(?:and|so) the (?:price|fee|cost)\b|\b(?:costs|sounds|is|definitely|certainly) "
    r"(?:too|(?:so |very |rather )?(?:expensive|pricey|dear))\b"
    r"|\b(?:tell|explain|let|show|give|check|ask|know|talk)\b[^.!?]{0,60} first\b|^first\b|\b(?:maybe|perhaps|later|"
    r"not yet|too (?:much|expensive|late|early))\b"
)
_YES = (
    r"(?:yes|yeah|yea|yep|yup|yah|ya|aye|ja|oui|si|uh-huh|sure|of course|absolutely|definitely|certainly|indeed|"
    r"exactly(?! (?:why|how|what i mean))|precisely(?! (?:why|how))|affirmative|by all means|naturally(?! i\b)|totally|"
    r"please do(?! (?:explain|tell|check|say|the other|wait))|(?:i|we) (?:agree|confirm|accept|approve|consent)"
    r"(?! (?:that )?(?:it|my|your|of your|i (?:heard|got|see|understand|am|was|have)|he|she)\b)|(?:i|we) (?:do|would"
    r"|am|are)$|"
    r"i'd (?:like|love) (?:that|it|to)(?! \w+ed\b)|agreed|confirmed|approved|granted|deal(?! (?:breaker|with))|"
    r"done deal|"
    r"you (?:may|can|have my \w+)(?! (?:keep|tell|explain|be|show|read|see)))"
)
_DO = (
    r"(?:(?:please |just |do |and |then |so |now |you can |let's |let us ){0,5}(?:go (?:right |straight )?(?:ahead|on|"
    r"for it)|proceed|continue|carry on)(?! (?:i'm listening|reading|talking|telling|with (?:your|the) (?:list"
    r"|options)))|"
    r"(?:please |just |do |and |then |so |now |you can |let's |let us ){0,5}(?:do (?:it|that|so|this)|make it so"
    r"|fire away|get on with it|(?!(?:tell|let|give|show|leave|"
    r"keep|hold|forget|drop|skip|stop|check|explain|read|repeat|change|say|see|hear|know|undo|scrap|ditch|abort|ignore|"
    r"scratch|revert|reverse|postpone|delay|reconsider|halt|hate|pause|doubt|mean|suspend|question|like|need|want"
    r"|have|is|"
    r"was) )[a-z]+ (?:it|that|them|both|me in|this|(?:that|"
    r"this|the \w+) one)"
    r"(?: (?:then|now|for me|please|through|up|in|off|over)){0,4}$))"
)
_WELL = (
    r"(?:(?:all|that's|that is|it's|it is|this is|that's all|everything's|everything is|that would be|that'd be|"
    r"that'll be|looks?|sounds?|that (?:looks|sounds|seems)|i'm|i am|we're|we are|quite|perfectly|absolutely|totally|"
    r"very|just|(?:the |that )?[a-z]+ (?:is|are|looks|sounds)) ){0,4}(?:ok|okay|okey|alright|all right|right|correct|"
    r"fine|"
    r"good|great|perfect|excellent|wonderful|brilliant|"
    r"lovely|grand|super|splendid|ideal|happy|agreeable|suitable|acceptable|what i (?:want|wanted|need|meant|had in "
    r"mind|asked for))"
)
_SUITS = (
    r"(?:(?:that|this|it|which|thursday|friday|everything)(?:'ll| will| would|'d)? (?:all )?(?:works?|suits?|fits?|do|"
    r"does)"
    r"(?=$|\s(?:for|me|us|fine|well|perfectly|great|then|thanks|nicely|too|now|as)\b)|works for (?:me|us)"
    r"|suits (?:me|us)|that'll do|that will do|that's it(?! for)|why not$)"
)
_AGREES = re.compile(
    rf"^(?:(?:(?:it|that)(?:'s| is) an?|oh|ah|well|hm+|um|so|and|then|great|thanks|thank you|perfect|now)\s+){{0,5}}"
    rf"(?:(?:{_YES}|{_DO}|{_SUITS})\b|{_WELL}(?=$|\s(?:to|with|by|for) (?:me|us|that|this|it)\b|"
    r"\s(?:then|please|thanks|thank you|and|so|let|do|go|now|enough|you|i|to (?:go|proceed|continue|accept|do|take|"
    r"pay|book))\b))"
)
_FIRMLY = re.compile(rf"^(?:(?:oh|ah|well|so|and|then)\s+){{0,5}}(?:{_YES}|{_DO})\b")
_THANKED = re.compile(r"\bthank(?:s| you) for (?!waiting)\w+")
_PARTS = re.compile(r"[.!;\n]+\s*|,\s+|\s+[-–—]+\s+|\s*—\s*|(?<=\?)\s+")
_WANTS_TO_KNOW = re.compile(
    r"\b(?:what|how|why|which|when|where|who|is|are|does|do i|will (?:i|it|that)|would (?:i|it)|was|has|have)\b"
)


def agrees(text: str) -> bool:
    """Whether a reply says yes: "Of course.", "Go for it", and not "Yes, but what does it cost?"."""
    said = _KIND.sub(" ", narrow(text).casefold().replace("\u2019", "'"))
    if _HOLDS.search(said):
        return False
    parts = [part.strip(" .!,\"'()*") for part in _PARTS.split(said)]
    asked = [part for part in parts if part.endswith("?")]
    if any(_WANTS_TO_KNOW.search(part) for part in asked):
        return False
    kinds = _FIRMLY if asked or _THANKED.search(said) else _AGREES
    return any(kinds.match(part) for part in parts if part not in asked)
