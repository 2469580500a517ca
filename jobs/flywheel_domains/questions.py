"""What the agent asks: to be told something, whether to go on with what it read out, or what else there is to do."""

from __future__ import annotations

import re

from flywheel_domains.stances import sentences

_FINE = (
    r"(?:(?:all |quite |perfectly )?(?:right|ok|okay|alright|fine|correct|good|agreeable|acceptable|suitable|in order|"
    r"convenient))"
)
_THIS = r"(?:that|this|it|everything)"
"""What was read out. "Is your name right?" asks for something else."""
_PLAN = rf"(?:{_THIS}|(?:the|these|those) (?:\S+ ){{0,3}}?\S+)"
_CONSENT = re.compile(
    r"\b(?:shall (?:i|we)|should (?:i|we)|(?:may|can) (?:i|we) (?!have|ask|know|help|get|see)|do you wish (?:me|us|"
    r"to (?:go|continue|proceed|do|keep|take|accept|book))|are we (?:doing|going with)|do you (?:want "
    r"(?!help|any)|"
    r"agree|confirm|consent|approve|accept|authori[sz]e)|would you like (?:me|us|to|that|this|it)|go ahead|proceed|"
    r"are (?:you|we) (?:still |all )?(?:sure|happy|fine|ok|okay|good|set|clear|content|agreed|on board|"
    r"in (?:favour|agreement))|"
    rf"is {_THIS} (?:still )?{_FINE}|confirm|agree|consent|yes or no)\b"
    rf"|\bis {_THIS} (?:what|how|as) you(?:'d| (?:want|wish|would|had|need|like|meant|mean))\w*\b"
    r"|\b(?:do|have|may|can) (?:i|we) (?:(?:have|got) )?your (?:\w+ )?(?:permission|consent|approval|agreement|okay|ok|"
    r"yes|word|go-ahead|blessing)\b"
    rf"|\b(?:happy|ready|keen|{_FINE}) (?:for|with) (?:me|us) (?:to|\w+ing)\b|\bwant (?:me|us) to\b"
    r"|\b(?:does|would|will|do) (?:\S+ ){1,6}?(?:suit(?: you)?|work for you)\s*\?|\bis that a (?:yes|deal|go)\b"
    rf"|\bmind if (?:i|we)\b|\bwould you (?:still )?be (?:happy|content|comfortable|open|willing|{_FINE})\b"
    rf"|\bdo we have a deal\b|\b(?:(?:will|would) {_PLAN}|does {_THIS}) (?:(?:all|still|then) )?(?:do|suit|fit|work|"
    rf"meet with|be {_FINE}|sound (?:right|ok|okay|good|fine|alright))\b[^?]*\?"
    r"|(?:^|[^\w\s]\s*|\b(?:that's|this|that|it|more|then) )(?:ok|okay|alright|all right|right|correct|"
    r"(?:sounds?|looks?|all) (?:good|right|ok|okay)|fine|agreed|yes|deal|approved|go)\s?\?"
)
_REQUEST = re.compile(
    r"\bplease (?:confirm|agree|consent|approve)\b|^confirm\b|\byou (?:confirm|agree|consent|approve|say (?:yes|so|the "
    r"word))\b|\b(?:say|reply|answer|type)(?: with)?\W+yes\b|\byes or no\b|\b(?:need|await|want|require|waiting for|"
    r"like|get|have)\b"
    r"[^.]{0,20}\byour (?:\w+ )?(?:permission|consent|approval|agreement|okay|ok|yes|word|go-ahead|confirmation)\b|"
    r"\b(?:to|(?:i|we)(?:'ll| will)|let me|before i|before we) (?:go ahead|proceed)\b|"
    r"\blet me know (?:if|whether) (?:i should|that|this|it)\b|(?:^|\bjust |\bonly |\bsimply )say (?:so|the word|go)\b"
    rf"|\bgives? (?:me|us) (?:the|your) (?:nod|word|go-ahead|go ahead|okay|ok|green light|thumbs up|all-clear|yes)\b"
    rf"|\bif (?:(?:you're|you are|that's|that is|this is|it's) (?:all )?(?:happy|content|agreeable|{_FINE})|"
    r"(?:that|this|it) (?:works|suits|sounds|looks))\b[^?]*"
    r"\b(?:i|we)(?:'ll| will| can|'d)\b"
)
"""What asks for a yes without a question mark. "I can confirm it" does not."""
_OPENS = re.compile(r"(?:^|[,:-]\s*)(?:so |and |then |now )*(?:shall|should|may|can|do|does|is|are|would|will)\b")
_MORE = re.compile(
    r"\b(?:anything else|something else|else (?:can|may) i|(?:further|more|any) help|help you|of help)\b"
)
_NEEDS = re.compile(
    r"^(?:\w+ ){0,2}(?:which|what(?! you\b)|when|where|who\w*|why|how (?:long|many|much|far|often|old|soon|do|did|"
    r"would|will|can))\b|\b(?:confirm|tell|give|provide|verify) (?:me |us )?"
    r"(?:your|the) (?:\w+ ){0,3}(?:number|name|id|code|date|address|e-?mail|reason|ground|cause)\b(?! to\b)"
)
_TELL = (
    r"(?:specify|state|name|choose|select|pick|enter|share|tell|give|send|provide|supply|indicate|say|list|confirm|type|"
    r"write|fill in|submit|repeat|spell)"
)
_WHAT = r"(?:me|us|your|the|an?|one|which|what|another|all|both|either|any|whether|if|(?:some )?(?:more|further))"
_DOES = r"(?:'s|is|are|was|were|would|will|do|does|did|can|could|should|shall|may|might)"
_FIRST = r"^(?:(?:and|so|then|now|ok|okay|right|also|first|next|finally|please|but)\W+){0,2}"
_ABOUT = r"(?:[\w'-]+ ){0,2}(?:number|name|id|code|address|e-?mail|date|postcode|reason|cause)\b"
_RELATIVE = r"(?:i|we|you|an?|matters|counts|happen\w*|follows|remains)\b"
"""After "what": no question, as in "what you asked for is done"."""
_WANTS_TO_KNOW = re.compile(
    "|".join(
        (
            r"\?",
            rf"{_FIRST}(?:which(?! (?:is why|means)\b)|whose|who(?:m|{_DOES}| {_DOES}| else))\b",
            rf"{_FIRST}(?:when|where|how|why)(?:{_DOES}| {_DOES}| (?:much|many|long|soon|often|old|far))\b",
            rf"{_FIRST}what(?:{_DOES}| {_DOES}| about| (?!{_RELATIVE})(?:[\w'-]+ ){{1,3}}{_DOES})\b",
            rf"{_FIRST}(?:{_DOES}|have|has) (?:you|i|we|there)\b(?!,)",
            rf"{_FIRST}(?!may)(?:{_DOES}|has) (?:that|it|this|your|the)\b|{_FIRST}(?:any|mind)\b",
            rf"{_FIRST}(?:(?:kindly|just) )?{_TELL} {_WHAT}\b|{_FIRST}(?:just|only) your\b",
            rf"\b(?:please|kindly) (?:\w+ly )?(?:{_TELL} {_WHAT}|let (?:me|us) know)\b",
            r"\b(?:please|kindly) (?:\w+ly )?(?:reply|respond|answer|verify|specify|clarify|identify)\b",
            r"\b(?:tell|give|send|remind) (?:me|us)\b|^help (?:me|us) with\b|\blet (?:me|us) (?:know|have)\b",
            r"\b(?:i|we)(?:'ll| will|'d| would|(?:'m| am|'re| are) going to)? (?:(?:still|also|just|only|first) )*"
            rf"(?:need|require|(?:am|are) missing|miss|lack)(?: from you)? (?:to (?:know|have)|{_WHAT})\b",
            r"\b(?:must|(?:have|want|like) to) know\b|\blike to have\b|\b(?:is|are) (?:still )?missing\b",
            r"\bwaiting for (?:your|the|an?)\b|\bask (?:you )?(?:for|which|what|when|why|whether)\b",
            r"\b(?:not (?:\w+ )?(?:sure|clear|certain)|unsure|unclear|uncertain|(?:do not|don't) know|"
            r"(?:cannot|can't) (?:tell|see)) (?:\w+ )?(?:which|what)\b",
            r"\byou (?:have not|haven't|did not|didn't) (?:yet )?(?:told|given|said|named|mentioned|provided|sent)\b",
            rf"\bwithout (?:knowing\b|(?:your|an?) {_ABOUT})",
            rf"\b(?:do not|don't) (?:yet )?have (?:your|the|an?|any) {_ABOUT}",
            r"\b(?:your|the) [\w' -]{2,40}?,? please\b",
        )
    )
)
"""What asks to be told something, in a sentence. "Here is what I found", "the flight which you booked" do not."""


def asks_for(text: str) -> bool:
    """Whether somebody asks to be told something: "Which flight is it?", "I need your reservation number"."""
    return any(_WANTS_TO_KNOW.search(sentence.strip()) for sentence in _plain(text))


def asks_consent(text: str) -> bool:
    """Whether somebody asks to be told to go on: "Shall I go ahead?", and not "Do you want help?"."""
    return any(
        _asks(sentence) and not _MORE.search(sentence) and not _NEEDS.search(sentence) for sentence in _plain(text)
    )


def _plain(text: str) -> list[str]:
    """Its sentences in small letters, with one kind of apostrophe."""
    return sentences(text.casefold().replace("\u2019", "'"))


def _asks(sentence: str) -> bool:
    if _REQUEST.search(sentence):
        return True
    return ("?" in sentence or _OPENS.search(sentence) is not None) and _CONSENT.search(sentence) is not None


def offers_more(text: str) -> bool:
    """Whether somebody asks what else there is to do: "Is there anything else?"."""
    return _MORE.search(text.casefold()) is not None
