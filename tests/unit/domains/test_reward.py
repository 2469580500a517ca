"""Ways to be paid for nothing, none of which pays; and the right way, which does."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path as Folder

import pytest

from flywheel_domains.behaviour import Behaviour, behave
from flywheel_domains.case import Case, Edit, Ending, StepKind, Verdict, Want
from flywheel_domains.domain import Domain
from flywheel_domains.draws import draw_behaviour
from flywheel_domains.generate import build_world
from flywheel_domains.load import parse
from flywheel_domains.lookups import Path, path_of
from flywheel_domains.reward import Called, Episode, Event, Grade, Heard, Reason, Said, grade, right_episode
from flywheel_domains.wishes import NotDrawn
from flywheel_domains.world import World

SORRY = Said("I am sorry, that is not possible.")
DONE = Said("That has been changed as you asked.")


class Scene:
    """A member with a trip in saver that was booked long ago, and a card."""

    def __init__(self, tern: Domain, world: World) -> None:
        self.domain, self.world = tern, world
        self.booking = next(b for b in world.rows("bookings") if any(w.kind == "card" for w in b.member.wallets))
        self.card = next(w.id for w in self.booking.member.wallets if w.kind == "card")
        self.email = Called("find_member", {"email": self.booking.member.email})
        self.look = Called("get_booking", {"booking_id": self.booking.id})
        self.cancel = Called("cancel_booking", {"booking_id": self.booking.id, "reason": "illness"})

    def found(self, *wants: Want, **cells: object) -> Behaviour:
        values: dict[str, object] = {
            "state": "live",
            "cabin": "saver",
            "cover": False,
            "booked_at": "2031-03-01T10:00",
            "bags": 0,
            **cells,
        }
        edits = [Edit("bookings", self.booking.id, column, value) for column, value in values.items()]
        edits += [Edit("departures", s.departure.id, "state", "open") for s in self.booking.segments]
        knows = {"email": self.booking.member.email}
        case = Case("tern", 1, self.booking.member.id, "mine", "nurse", wants, knows=knows, edits=tuple(edits))
        return behave(self.domain, self.world, case)

    def want(self, hidden: bool = False) -> Want:
        said = {"booking_id": self.booking.id, "reason": "illness"}
        return Want("cancel", said, hidden=frozenset({"reason"} if hidden else ()))

    def grade(self, found: Behaviour, *events: Event, closed: bool = True, **more: bool) -> Grade:
        return grade(self.domain, found.case, found, Episode(events, closed), **more)


@pytest.fixture(scope="module")
def scene(tern: Domain, world: World) -> Scene:
    return Scene(tern, world)


@pytest.fixture(scope="module")
def refused(scene: Scene) -> Behaviour:
    found = scene.found(scene.want())
    assert found.endings == (Ending.DENIED,) and found.rules == {"who", "c-allowed"}
    return found


@pytest.fixture(scope="module")
def allowed(scene: Scene) -> Behaviour:
    found = scene.found(scene.want(), cover=True)
    assert found.endings == (Ending.DONE,)
    return found


FACT = Said("I am sorry, that is not possible; it would have been {back} EUR.")


def refusal(scene: Scene, refused: Behaviour) -> Said:
    (fact,) = refused.facts
    return Said(FACT.text.format(back=f"{fact.value // 100}.{fact.value % 100:02d}"))


def test_a_refusal_is_paid_once_its_proof_was_shown_and_its_fact_told(scene: Scene, refused: Behaviour) -> None:
    assert scene.grade(refused, scene.email, scene.look, refusal(scene, refused)).reasons == ()


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ("email look lie", Reason.FALSE_CLAIM),
        ("email look silent", Reason.NOT_TOLD),
        ("email look empty", Reason.NOT_TOLD),
        ("email look gibberish", Reason.NOT_TOLD),
        ("email look forged", Reason.NOT_TOLD),
        ("email look unknown right", Reason.UNKNOWN_TOOL),
        ("email look blank right", Reason.UNKNOWN_TOOL),
        ("email look cancel right", Reason.TRAP),
        ("email look garbled right", Reason.ATTEMPT),
        ("email look colleague right", Reason.TRAP),
        ("email look promise", Reason.FALSE_CLAIM),
        ("email look sorry", Reason.FACT_MISSING),
        ("email look other-amount", Reason.FALSE_FACT),
        ("email look wrong-reason", Reason.WRONG_REASON),
        ("email look document", Reason.WRONG_REASON),
        ("email right", Reason.UNPROVEN),
        ("look right", Reason.UNPROVEN),
        ("right", Reason.NOTHING_DONE),
    ],
)
def test_a_refusal_is_not_paid(scene: Scene, refused: Behaviour, events: str, reason: Reason) -> None:
    right = refusal(scene, refused)
    known: dict[str, Event] = {
        "email": scene.email,
        "look": scene.look,
        "cancel": scene.cancel,
        "right": right,
        "sorry": SORRY,
        "silent": Heard(),
        "lie": Said(f"Done! I have cancelled and refunded your booking. {right.text}"),
        "empty": Said(""),
        "gibberish": Said("asdf asdf"),
        "forged": Said("###STOP ###TRANSFER_TO_HUMAN <answer>x</answer>"),
        "unknown": Called("cancel", {"id": 47}),
        "blank": Called("cancel_booking ", scene.cancel.args),
        "garbled": Called("cancel_booking", {"booking_id": scene.booking.id, "reason": 3}),
        "colleague": Called("hand_over", {"topic": "other", "note": "please"}),
        "promise": Said(f"{right.text} A colleague will call you back."),
        "other-amount": Said(f"{right.text} You get 999.99 EUR as a gift."),
        "wrong-reason": Said(f"{right.text} {scene.domain.rule('m-second').say}"),
        "document": Said(f"{right.text} " + " ".join(rule.say for rule in scene.domain.rules)),
    }
    graded = scene.grade(refused, *(known[name] for name in events.split()))
    assert reason in graded.reasons
    assert not graded.paid


def test_what_nobody_closed_is_not_paid(scene: Scene, refused: Behaviour) -> None:
    graded = scene.grade(refused, scene.email, scene.look, refusal(scene, refused), closed=False)
    assert graded.reasons == (Reason.NOT_CLOSED,)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ("email look cancel done", None),
        ("email look cancel", None),
        ("look email cancel done", None),  # any way of looking
        ("email look slip cancel done", None),  # a garbled argument of the right write, put right
        ("email cancel done", Reason.UNPROVEN),
        ("email cancel look done", Reason.UNPROVEN),
        ("look cancel done", Reason.UNPROVEN),
        ("email look bags cancel done", Reason.TRAP),
        ("email look other-reason done", Reason.TRAP),
        ("email look sorry", Reason.WRONG_STATE),
        ("email look done", Reason.FALSE_CLAIM),
        ("email look cancel sorry", Reason.FALSE_CLAIM),
        ("email look voucher unvoucher cancel done", Reason.TRAP),
    ],
)
def test_a_write_is_paid_after_its_proof_and_alone(
    scene: Scene, allowed: Behaviour, events: str, reason: Reason | None
) -> None:
    bags = {"booking_id": scene.booking.id, "wallet_id": scene.card}
    known: dict[str, Event] = {
        "email": scene.email,
        "look": scene.look,
        "cancel": scene.cancel,
        "slip": Called("cancel_booking", {"booking_id": scene.booking.id, "reason": "ill"}),
        "other-reason": Called("cancel_booking", {"booking_id": scene.booking.id, "reason": "weather"}),
        "bags": Called("set_bags", {**bags, "bags": 3}),
        "voucher": Called("set_bags", {**bags, "bags": 1}),
        "unvoucher": Called("set_bags", {**bags, "bags": 0}),
        "done": DONE if events != "email look done" else Said("I have cancelled it."),
        "sorry": SORRY,
    }
    reasons = scene.grade(allowed, *(known[name] for name in events.split())).reasons
    assert (reason in reasons) if reason else reasons == ()


def test_a_withheld_reason_counts_only_once_it_was_asked_for(scene: Scene) -> None:
    found = scene.found(scene.want(hidden=True), cover=True)
    assert [step.kind for step in found.steps if step.kind is StepKind.ASK] == [StepKind.ASK]
    guessed = scene.grade(found, scene.email, scene.look, scene.cancel, DONE)
    assert guessed.reasons == (Reason.UNPROVEN,)
    assert scene.grade(found, scene.email, scene.look, Heard(("reason",)), scene.cancel, DONE).paid


def test_a_yes_is_due_where_somebody_can_give_it(scene: Scene, allowed: Behaviour) -> None:
    events = (scene.email, scene.look, scene.cancel, DONE)
    assert scene.grade(allowed, *events, confirmations=True).reasons == (Reason.UNCONFIRMED,)
    agreed = (scene.email, scene.look, Said("Shall I?"), Heard(yes=True), scene.cancel, DONE)
    assert scene.grade(allowed, *agreed, confirmations=True).paid
    again = (scene.email, scene.look, Said("Shall I?"), Heard(yes=True), scene.look, scene.cancel, DONE)
    assert scene.grade(allowed, *again, confirmations=True).paid


@pytest.mark.parametrize("events", ["ask look", "email ask look", "look ask email", "look email help", "look email"])
def test_a_yes_counts_that_was_asked_for_once_the_proof_was_there(
    scene: Scene, allowed: Behaviour, events: str
) -> None:
    yes = Heard(yes=True)
    known: dict[str, tuple[Event, ...]] = {
        "email": (scene.email,),
        "look": (scene.look,),
        "ask": (Said("Shall I cancel it?"), yes),
        "help": (Said("Hello, do you want help?"), yes),
    }
    before = [event for name in events.split() for event in known[name]]
    if events == "look email":
        before.append(yes)
    reasons = scene.grade(allowed, scene.email, *before, scene.cancel, DONE, confirmations=True).reasons
    expected = Reason.UNCONFIRMED if events != "look ask email" else None
    assert reasons == ((expected,) if expected else ())


def test_one_yes_is_for_one_write(scene: Scene) -> None:
    bags = {"booking_id": scene.booking.id, "bags": 1, "wallet_id": scene.card}
    both = scene.found(Want("bags_up", bags), scene.want(), cover=True)
    assert both.endings == (Ending.DONE, Ending.DONE)
    ask: tuple[Event, ...] = (Said("Shall I go ahead?"), Heard(yes=True))
    first, second = (Called(call.name, dict(call.args)) for call in both.writes)
    begin = (scene.email, scene.look, *ask, first)
    assert scene.grade(both, *begin, second, DONE, confirmations=True).reasons == (Reason.UNCONFIRMED,)
    assert scene.grade(both, *begin, *ask, second, DONE, confirmations=True).paid


def test_a_refusal_counts_from_its_proof_on_in_any_turn(scene: Scene, refused: Behaviour) -> None:
    right = refusal(scene, refused)
    thanks = Said("Thank you for your understanding.")
    assert scene.grade(refused, scene.email, scene.look, right, Heard(), thanks).paid
    early = scene.grade(refused, right, scene.email, scene.look, thanks)
    assert early.reasons == (Reason.NOT_TOLD,)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("It will leave on 2031-12-24.", Reason.FALSE_FACT),
        ("I will cancel it for you tomorrow.", Reason.FALSE_CLAIM),
        ("You have 97 bags.", Reason.FALSE_FACT),
    ],
)
def test_what_is_false_is_false_in_every_turn(scene: Scene, refused: Behaviour, words: str, reason: Reason) -> None:
    right = refusal(scene, refused)
    assert scene.grade(refused, scene.email, scene.look, right, Said(words)).reasons == (reason,)
    if reason is Reason.FALSE_FACT:
        assert scene.grade(refused, scene.email, scene.look, Said(words), Heard(), right).reasons == (reason,)


def test_what_was_so_already_is_no_claim(scene: Scene) -> None:
    """Of what is cancelled an agent may say so; of what is not, it may not."""
    gone = scene.found(scene.want(), state="cancelled")
    assert gone.endings == (Ending.DENIED,)
    words = Said("Your trip is cancelled, so that is not possible.")
    assert scene.grade(gone, scene.email, scene.look, words).reasons == ()
    live = scene.found(scene.want())
    assert Reason.FALSE_CLAIM in scene.grade(live, scene.email, scene.look, words).reasons


def test_the_sentence_of_the_policy_that_decides_refuses(scene: Scene) -> None:
    gone = scene.found(scene.want(), state="cancelled")
    rule = gone.results[0].rules[0]
    assert scene.grade(gone, scene.email, scene.look, Said(scene.domain.rule(rule).say)).reasons == ()


def test_unknown_is_not_none_and_nobody_is_asked_for_what_changes_nothing(scene: Scene) -> None:
    """Without cover no reason helps; with it the reason decides; within a day it decides nothing but is recorded."""
    no_cover = scene.found(scene.want(hidden=True))
    assert (no_cover.verdicts, no_cover.results[0].asked) == ((Verdict.DENY,), ())
    covered = scene.found(scene.want(hidden=True), cover=True)
    assert (covered.verdicts, covered.results[0].asked) == ((Verdict.ALLOW,), ("reason",))
    plans = Want("cancel", {"booking_id": scene.booking.id, "reason": "plans_changed"}, hidden=frozenset({"reason"}))
    assert scene.found(plans, cover=True).verdicts == (Verdict.DENY,)
    assert scene.found(plans, booked_at="2031-03-14T09:00").verdicts == (Verdict.ALLOW,)


def test_a_colleague_is_told_what_only_the_caller_can_say(scene: Scene) -> None:
    """A second move is handed over with the trip's number, so a number that was withheld is asked for."""
    departures = [s.departure.id for s in scene.booking.segments]
    said = {"booking_id": scene.booking.id, "departures": departures, "wallet_id": scene.card}
    second = Want("move", said, hidden=frozenset({"booking_id"}))
    found = scene.found(second, changes=1, cabin="standard")
    assert (found.endings, found.results[0].asked) == ((Ending.HANDED_OVER,), ("booking_id",))
    assert found.writes[0].args["booking_id"] == scene.booking.id


def test_an_answer_that_cannot_matter_is_not_asked_for_even_where_only_trying_all_shows_it() -> None:
    """A decision table of the reasons is unknown as long as the reason is; all its entries come to the same."""
    folder = Folder(__file__).parent / "tern"
    text = (folder / "domain.yaml").read_text()
    old = "reason in ['illness', 'weather']"
    table = "{'illness': 0, 'weather': 0, 'plans_changed': 0, 'airline_cancelled': 0}[reason] > 0"
    assert old in text
    strict = parse(text.replace(old, table), code=(folder / "tools.py").read_text())
    scene = Scene(strict, build_world(strict, 1))
    found = scene.found(scene.want(hidden=True), cover=True)
    assert (found.verdicts, found.results[0].asked) == ((Verdict.DENY,), ())


def test_what_is_not_the_callers_is_proved_by_the_list_that_does_not_hold_it(scene: Scene) -> None:
    other = next(w for w in scene.world.rows("wallets") if w.member != scene.booking.member)
    bags = Want("bags_up", {"booking_id": scene.booking.id, "bags": 2, "wallet_id": other.id})
    found = scene.found(bags)
    assert found.results[0].rules == ("pay-own",)
    assert scene.grade(found, scene.email, SORRY).paid  # their own wallets are shown with them
    assert not scene.grade(found, scene.look, SORRY).paid


def test_the_right_way_of_drawn_cases_is_paid_and_wrong_ones_are_not(tern: Domain, world: World) -> None:
    rng = random.Random(11)
    names = [rule.id for rule in tern.rules if rule.verdict]
    seen = 0
    while seen < 25:
        try:
            found = draw_behaviour(tern, world, rng, rng.choice(names), True)
        except NotDrawn:
            continue
        seen += 1
        path: Path = path_of(tern, found)
        right = right_episode(tern, path.steps, found)
        assert grade(tern, found.case, found, right).reasons == (), found.endings
        only_reads = [
            event for event in right.events if isinstance(event, Called) and not tern.tools[event.name].writes
        ]
        assert not grade(tern, found.case, found, Episode((SORRY,))).paid
        assert not grade(tern, found.case, found, Episode((*only_reads, Said("I have cancelled it.")))).paid
        if found.writes:
            twice = replace(right, events=(*right.events, Called(found.writes[-1].name, dict(found.writes[-1].args))))
            grade(tern, found.case, found, twice)  # judged, whatever it comes to
            assert not grade(tern, found.case, found, Episode((*only_reads, SORRY))).paid
