"""The parts of a domain as they are written: frozen models, one for each block of domain.yaml.

An expression is compiled when it is read, so that what is wrong with it is found with its line. What names refer to is
checked afterwards, over the whole domain, by `link`.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import Field, field_validator, model_validator

from flywheel_domains.blocks import ID, Each, Expression, Name, Named, Part, Share, Words
from flywheel_domains.expr import Expr, compile_expr
from flywheel_domains.values import ColumnType, normalise

FORMAT = "flywheel.dev/domain/v1"


class Clock(Part):
    """The domain's time: one clock and one zone, and time stands still within a conversation."""

    now: str
    zone: str = Field(default="UTC", pattern=r"^[A-Za-z_]+(/[A-Za-z_+-]+){0,2}$")
    per_turn: str = "0m"

    @field_validator("per_turn")
    @classmethod
    def _still(cls, text: str) -> str:
        if text != "0m":
            raise ValueError("time stands still within a conversation: anything but 0m is not built yet")
        return text

    @field_validator("zone")
    @classmethod
    def _known(cls, text: str) -> str:
        try:
            ZoneInfo(text)
        except (ZoneInfoNotFoundError, IsADirectoryError):
            if available_timezones():  # where there is no list of zones, none can be refused
                raise ValueError(f"there is no time zone {text}: write one as in Europe/Vienna") from None
        return text

    @field_validator("now")
    @classmethod
    def _moment(cls, text: str) -> str:
        normalise(ColumnType("datetime"), text)
        return text

    @property
    def moment(self) -> datetime:
        """The time at which every conversation begins."""
        found: datetime = normalise(ColumnType("datetime"), self.now)
        return found


class Money(Part):
    """The currency, and how many decimals its minor unit has."""

    currency: str = Field(default="EUR", pattern="^[A-Z]{3}$")
    minor: int = Field(default=2, ge=0, le=4)


# ---- tools -----------------------------------------------------------------------------------------------------------


class View(Named):
    """Which columns of a row a read shows, and which of its children: what is shown is what is revealed.

    A `plain` one shows the values alone, without what is empty, as a line of text: for models that read no JSON.
    """

    of: str
    show: tuple[str, ...]
    children: dict[str, tuple[str, ...]] = Field(default_factory=dict, alias="with")
    plain: bool = False

    @model_validator(mode="after")
    def _one_line(self) -> Self:
        if self.plain and self.children:
            raise ValueError("a plain view is one line: it has no children")
        return self


class Arg(Named):
    """An argument: short for a JSON schema."""

    type: str | tuple[str, ...] | None = None
    ref: str | None = None
    list: Arg | None = None
    object: dict[Name, Arg] | None = None
    min: int | None = None
    max: int | None = None
    optional: bool = False
    source: Literal["caller"] | None = Field(default=None, alias="from")
    about: str = ""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(each is not None for each in (self.type, self.ref, self.list, self.object)) != 1:
            raise ValueError("an argument has exactly one of type, ref, list, object")
        return self


class Read(Part):
    """What a read finds: a row by id (`get`), the only row that fits (`one`), or all that fit."""

    get: str | None = None
    key: str | None = None
    one: str | None = None
    all: str | None = None
    where: Expression | None = None
    sort: Expression | None = None
    limit: int = Field(default=20, ge=1, le=100)
    show: str
    none: Name | None = None

    @property
    def table(self) -> str:
        """The table that is read."""
        return self.get or self.one or self.all or ""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(each is not None for each in (self.get, self.one, self.all)) != 1:
            raise ValueError("a read has exactly one of get, one, all")
        if (self.get is None) != (self.key is None):
            raise ValueError("`key` names the argument that holds the id, for `get` and only for it")
        if self.one is not None and self.where is None:
            raise ValueError("`one` needs `where`")
        return self


class Refuse(Part):
    """A condition under which the tool does nothing, and what it answers then."""

    condition: Expression = Field(alias="if")
    error: Name
    tell: dict[Name, Expression] = {}


class Step(Part):
    """One effect of a write, for `each` member and `if` something holds: `set` columns, `add` a row, or `drop` one."""

    each: Each | None = None
    condition: Expression | None = Field(default=None, alias="if")
    set: Expression | None = None
    to: dict[Name, Expression] | None = None
    add: str | None = None
    bind: Name | None = Field(default=None, alias="as")
    row: dict[Name, Expression] | None = None
    drop: Expression | None = None

    @model_validator(mode="after")
    def _one_effect(self) -> Self:
        if sum(each is not None for each in (self.set, self.add, self.drop)) != 1:
            raise ValueError("a step has exactly one of set, add, drop")
        if (self.set is None) != (self.to is None) or (self.add is None) != (self.row is None):
            raise ValueError("`set` has `to`, and `add` has `row`")
        if self.bind and (not self.add or self.each):
            raise ValueError("`as` names the row of an `add` without `each`")
        return self


class Tool(Named):
    """A tool: a read, a write, or a function of tools.py; with the schema of its arguments."""

    about: str = Field(min_length=3, max_length=400)
    short: str = Field(default="", max_length=40)
    args: dict[Name, Arg]
    read: Read | None = None
    write: bool = False
    code: str | None = None
    view: str | None = None
    kind: Literal["read", "write"] | None = None
    let: dict[Name, Expression] = {}
    refuse: tuple[Refuse, ...] = ()
    steps: tuple[Step, ...] = Field(default=(), alias="do")
    show: dict[Name, Expression] = {}
    proves: Expression | None = None
    repeat: Literal["same", "again", "refuse"] | None = None
    ends: bool = False
    side: Literal["agent"] = "agent"

    @field_validator("side", mode="before")
    @classmethod
    def _not_built(cls, side: object) -> object:
        if side == "user":
            raise ValueError("tools of the user have their place in the format, and are not built yet: leave them out")
        return side

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum((self.read is not None, self.write, self.code is not None)) != 1:
            raise ValueError("a tool is exactly one of `read`, `write: true`, `code`")
        if (self.code is None) != (self.kind is None):
            raise ValueError("`kind: read` or `kind: write` goes with `code`, and only with it")
        if self.writes and self.repeat is None:
            raise ValueError(
                "a write says what a second call with the same arguments does: `repeat: same`, `again` or `refuse`"
            )
        if not self.writes and (self.repeat or self.steps or self.refuse or self.ends):
            raise ValueError("a read has no `repeat`, `refuse`, `do` or `ends`")
        if self.code is not None and (self.steps or self.refuse or self.show):
            raise ValueError("a tool with `code` has no `refuse`, `do` or `show`: the function does it")
        return self

    @property
    def writes(self) -> bool:
        """Whether it may change the tables."""
        return self.write or self.kind == "write"


class Act(Named):
    """What callers ask for and no tool does."""

    args: dict[Name, Arg] = {}
    let: dict[Name, Expression] = {}
    about: str = ""


# ---- policy -------------------------------------------------------------------------------------------------------

VERDICTS = ("identify", "hand_over", "deny", "instead", "ask", "allow")


class Instead(Part):
    """The call that is made in place of the wished one."""

    tool: str
    args: dict[Name, Expression] = {}


class RuleExample(Part):
    """A state on one side of the rule's limit: cells and arguments that are set, and whether the rule fires then."""

    changes: dict[str, Expression] = Field(default={}, alias="set")
    given: dict[str, Expression] = Field(default={}, alias="with")
    """Arguments (or lets) that the example needs to have these values."""
    fires: bool


class Rule(Named):
    """An executable sentence of the policy: for which calls, under which condition, with which verdict."""

    id: str = Field(pattern=ID)
    applies: tuple[str, ...] = Field(alias="for", min_length=1)
    when: Expression | None = None
    unless: Expression | None = None
    verdict: Literal["identify", "hand_over", "deny", "instead", "ask", "allow"] | None = None
    modifier: Literal["confirm", "needs", "value"] | None = None
    by: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    args: dict[Name, Expression] = {}
    changes: dict[Name, Expression] = Field(default={}, alias="set")
    instead: Instead | None = None
    otherwise: Literal["deny", "ask", "hand_over"] | None = Field(default=None, alias="else")
    tell: tuple[str, ...] = ()
    enforced: Literal["tool"] | None = None
    lifted_by: tuple[str, ...] = ()
    loophole: tuple[str, ...] = ()
    examples: tuple[RuleExample, ...] = ()
    say: Words

    @field_validator("applies", "lifted_by", "loophole", mode="before")
    @classmethod
    def _several(cls, raw: object) -> object:
        return [raw] if isinstance(raw, str) else raw

    @model_validator(mode="after")
    def _one_effect(self) -> Self:
        if (self.verdict is None) == (self.modifier is None):
            raise ValueError("a rule has exactly one of `verdict`, `modifier`")
        if self.verdict == "instead" and self.instead is None:
            raise ValueError("`verdict: instead` says which call: `instead: {tool: …, args: {…}}`")
        if self.modifier == "needs" and not self.ask:
            raise ValueError("`modifier: needs` says what is asked: `ask: [argument]`")
        if self.modifier == "value" and not self.changes:
            raise ValueError("`modifier: value` says what is set: `set: {argument: expression}`")
        return self


# ---- wishes -------------------------------------------------------------------------------------------------------


class Choose(Part):
    """The best of some candidates: `by: min expression` or `max expression` over `it`."""

    source: Expression = Field(alias="from")
    by: str

    @field_validator("by")
    @classmethod
    def _best(cls, text: str) -> str:
        way, _, score = text.partition(" ")
        if way not in ("min", "max"):
            raise ValueError("write `min <expression>` or `max <expression>`, over `it`")
        compile_expr(score)
        return text

    @property
    def way(self) -> str:
        """`min` or `max`."""
        return self.by[:3]

    @cached_property
    def score(self) -> Expr:
        """What is the least or the most."""
        return compile_expr(self.by[3:])


class Pick(Part):
    """Some of the candidates, at random."""

    source: Expression = Field(alias="from")
    n: int | tuple[int, int] = 1


class Spread(Part):
    """A total spread over what may pay for it, kind by kind in the stated order."""

    total: Expression
    over: tuple[Expression, ...]
    of: Expression


class AllBut(Part):
    """Every row that fits: one goal for each."""

    source: Expression = Field(alias="from")
    where: Expression | None = None


class Slot(Named):
    """Where the value of an argument comes from: exactly one way, perhaps withheld at first (`hide`)."""

    mine: str | None = None
    caller: bool = False
    any: str | None = None
    differs: Expression | None = Field(default=None, alias="not")
    expr: Expression | None = None
    value: Any = None
    choose: Choose | None = None
    pick: Pick | None = None
    spread: Spread | None = None
    all: AllBut | None = None
    people: tuple[int, int] | None = None
    range: tuple[int, int] | None = None
    chance: Share | None = None
    person: Literal["full", "first", "last"] | None = Field(default=None, alias="name")
    hide: Share | None = None

    @cached_property
    def way(self) -> str:
        """Which of the ways it is."""
        return next(name for name in SLOT_WAYS if name in self.model_fields_set)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, raw: object) -> object:
        if not isinstance(raw, str):
            return raw
        if raw == "caller":
            return {"caller": True}
        if raw.startswith("mine."):
            return {"mine": raw.removeprefix("mine.")}
        raise ValueError("write `caller`, `mine.<word>`, or {expr: …}")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if len([name for name in SLOT_WAYS if name in self.model_fields_set]) != 1:
            raise ValueError(f"a slot is exactly one of {', '.join(SLOT_WAYS).replace('person', 'name')}")
        return self


SLOT_WAYS = (
    "mine", "caller", "any", "expr", "value", "choose", "pick", "spread", "all", "people", "range", "chance", "person",
)  # fmt: skip


class Wish(Named):
    """What a caller can want: a call with slots, or an act that no tool does."""

    goal: str
    slots: dict[Name, Slot] = {}
    when: Expression | None = None
    only_if: Expression | None = None
    limits: dict[Name, Any] = {}
    """The caller's own limits, by the names that `only_if` uses: a value, `{pick: [...]}` or `{range: [a, b]}`."""
    share: int = Field(default=1, ge=1, le=20)
    """How often it is wished, beside the others."""
    otherwise: tuple[str, ...] = Field(default=(), alias="else")
    asks: dict[Name, Expression] = {}
    words: tuple[Words, ...] = Field(min_length=1)


class Caller(Named):
    """Who calls: how often, what they know, and whose affairs they ask about."""

    share: Share
    knows: tuple[str, ...] = ()
    of: str | None = None
    someone_else: bool = False

    @model_validator(mode="before")
    @classmethod
    def _short(cls, raw: object) -> object:
        if isinstance(raw, dict) and raw.get("of") == "someone_else":
            return {**raw, "of": None, "someone_else": True}
        return raw


class ShownCall(Part):
    """A call in a worked example; `answers` is what it answered, where that is shown."""

    tool: str
    args: dict[Name, Any]
    answers: str = ""


class ShownTalk(Part):
    """A worked example: what was asked, and the calls that were right."""

    asks: Words
    calls: Annotated[tuple[ShownCall, ...], Field(min_length=1)]


class Prompt(Part):
    """How an agent is shown the domain: `compact` is one line for all tools, for models of a short memory."""

    compact: bool = False
    examples: tuple[ShownTalk, ...] = ()


class Persona(Named):
    """Who speaks, in which tone, and what they say when they are refused: wrong claims, then a plea."""

    id: str = Field(pattern=ID)
    trade: str
    tone: str = "plain"
    pushes: int = Field(default=0, ge=0, le=6)
    claims: dict[Name, Any] = {}
    pleads: Words | None = None


class Holdout(Part):
    """What is kept aside for evaluation."""

    by: tuple[Literal["persona", "wording", "state"], ...] = ("persona",)
    share: Share = 0.2
