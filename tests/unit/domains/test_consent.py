"""What is a yes of the caller's, in whatever words, and what holds back, asks first or takes its yes back."""

from __future__ import annotations

import time

import pytest

from flywheel_domains.consent import agrees

YES = (
    "Of course.",
    "Correct.",
    "Absolutely!",
    "Sure thing.",
    "Go for it.",
    "Sounds good.",
    "Yes please, go ahead.",
    "Yep, that's fine.",
    "Yup.",
    "That works for me.",
    "Please do.",
    "Definitely, thanks.",
    "That's right.",
    "Fine by me.",
    "I confirm.",
    "Perfect, do that.",
    "Alright, let's do it.",
    "By all means.",
    "Ja, yes, go ahead.",
    "No problem, go ahead.",
    "I agree, book the van.",
    "Great, please proceed.",
    "Yes, that's exactly what I want.",
    "Okay, do it.",
    "Ok then.",
    "Sure, why not.",
    "That'd be great, thanks.",
    "Please go ahead and cancel the reservation.",
    "Yes, cancel it.",
    "I'm fine with that.",
    "Yes, I understand the fee. Go ahead.",
    "You can proceed.",
    "Right, go ahead.",
    "Yes, no problem.",
    "Certainly.",
    "It's a yes from me.",
    "Thursday is fine.",
    "Looks good to me.",
    "Yeah go on then.",
    "Aye, do it.",
    "Yes. My number is 4711.",
    "Confirmed, thank you.",
    "Yes, I'd like that.",
    "Go on then.",
    "That's the one, yes.",
    "Okay great, let's book that one.",
    "Yes please!",
    "Uh, yeah, okay.",
    "I'm happy to proceed.",
    "Thanks, that works.",
    "Sure, cancel both of them.",
    "Right, do that please.",
    "Yes, that is correct.",
    "Cool, go ahead.",
)
NO = (
    "Yes but only if it's free.",
    "No, don't.",
    "Not yet.",
    "Hold on.",
    "Yes — actually no.",
    "Yes, wait, no, leave it.",
    "Sure, but what does it cost?",
    "Okay, but first tell me the price.",
    "Of course not.",
    "Absolutely not!",
    "I'm not sure.",
    "Go ahead? No way.",
    "Correct me if I'm wrong, but was it not free?",
    "Sounds good, but no thanks.",
    "Right, what else is there?",
    "Nope.",
    "Yes, I know it costs 40, but I don't want that.",
    "Fine, forget it then.",
    "Sure, what does it cost?",
    "No thanks.",
    "I'd rather not.",
    "Let me think about it.",
    "What does it cost?",
    "Is there a fee?",
    "Please wait a moment.",
    "Yes, if there's no fee.",
    "I don't agree.",
    "Birth date: 3 May 1980.",
    "Thank you.",
    "I am entitled to it.",
    "Please, it is urgent.",
    "I do not know.",
    "Then leave it.",
    "Could you explain that again?",
    "Yes, but could you check the price first?",
    "Okay wait, how much is that?",
    "Nah, too expensive.",
    "Maybe later.",
    "Stop, I changed my mind.",
    "It's okay, I'll keep it.",
    "Okay, never mind then.",
    "That's fine, I'll call back.",
    "Good question.",
    "I'm good, thanks.",
    "Fine, but only the first one.",
    "My name is Ann Good.",
    "Perfect, and what would it cost?",
    "Great, thanks for checking.",
    "I want to cancel my booking.",
    "Yes or no, what is the fee?",
    "Don't go ahead.",
    "That's wrong.",
    "Hmm.",
)


@pytest.mark.parametrize("text", YES)
def test_a_yes(text: str) -> None:
    assert agrees(text)


@pytest.mark.parametrize("text", NO)
def test_no_yes(text: str) -> None:
    assert not agrees(text)


@pytest.mark.parametrize(
    "unit", ["please ", "that is ", "no, ", "well ", "thank you ", "tell ", "is? ", "that's it is "]
)
def test_a_reply_of_any_length_takes_no_time(unit: str) -> None:
    started = time.process_time()
    agrees(unit * 4000)
    assert time.process_time() - started < 0.5
