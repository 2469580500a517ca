"""Rules, wishes and worked examples: what they speak about is there, and means something where they speak about it."""

from __future__ import annotations

from collections.abc import Iterable

from flywheel_domains.document import Path
from flywheel_domains.expr import Expr
from flywheel_domains.link_names import DRAWN_CALLS, EVERYWHERE, Names
from flywheel_domains.model import Act, Rule, Slot, Tool, Wish

GROUPS = ("private", "reads", "writes", "acts")


class PolicyLinker:
    """Checks the second half of a domain."""

    def __init__(self, names: Names) -> None:
        self.names, self.domain = names, names.domain
        self.fault, self.expr = names.fault, names.expr

    def all(self) -> None:
        """Notes everything that refers to nothing."""
        self.rules()
        for name, wish in self.domain.wishes.items():
            self._wish(("wishes", name), wish)
        self.prompt()

    # ---- rules

    def rules(self) -> None:
        """Rules: ids are different, and each speaks about something."""
        ids = [rule.id for rule in self.domain.rules]
        known = frozenset(GROUPS).union(*(self.domain.groups_of(name) for name in self.domain.parts))
        for index, rule in enumerate(self.domain.rules):
            path = ("rules", index)
            if rule.id in ids[:index]:
                self.fault((*path, "id"), f"there are two rules {rule.id}")
            for word in rule.applies:
                if word not in known:
                    self.fault((*path, "for"), f"there is no tool, act or group {word}")
            for other in rule.lifted_by:
                if other not in ids:
                    self.fault((*path, "lifted_by"), f"there is no rule {other}")
            for name in rule.loophole:
                if name != "allowed" and not (name in self.domain.tools and self.domain.tools[name].writes):
                    self.fault(
                        (*path, "loophole"), f"no tool {name} changes anything", "name the tools that may lead round"
                    )
            self._effects(path, rule)
            for name, part in self.domain.parts.items():
                if self.domain.groups_of(name) & set(rule.applies):
                    self._rule(path, rule, name, part)

    def _effects(self, path: Path, rule: Rule) -> None:
        for name in rule.by:
            tool = self.domain.tools.get(name)
            if tool is None or tool.proves is None:
                self.fault((*path, "by"), f"no tool {name} shows who is calling", "name one that has `proves`")
        if rule.verdict == "hand_over":
            self._hand_over(path, rule)
        if rule.instead is not None:
            tool = self.domain.tools.get(rule.instead.tool)
            if tool is None:
                self.fault((*path, "instead", "tool"), f"there is no tool {rule.instead.tool}")
            else:
                self._among((*path, "instead", "args"), rule.instead.args, tool.args, f"{rule.instead.tool} has no")

    def _hand_over(self, path: Path, rule: Rule) -> None:
        """What nobody decides of a hand-over an agent can only guess; texts alone are not compared."""
        ending = next((tool for tool in self.domain.tools.values() if tool.ends), None)
        if ending is None:
            self.fault((*path, "verdict"), "nothing hands over", "give a tool `ends: true`")
            return
        for name, arg in ending.args.items():
            if not arg.optional and arg.type not in ("text", "string") and name not in rule.args:
                text = f"{ending.name} needs {name}, which the rule does not give"
                self.fault((*path, "verdict"), text, f"write `args: {{{name}: …}}`")

    def _rule(self, path: Path, rule: Rule, member: str, part: Tool | Act) -> None:
        """The rule about one of the calls that it speaks about."""
        names = {*part.args, *part.let}
        for key, found in (("when", rule.when), ("unless", rule.unless)):
            if found is not None:
                self._means((*path, key), found, names, member)
        for key, given in (("args", rule.args), ("set", rule.changes)):
            for name, expr in given.items():
                self._means((*path, key, name), expr, names, member)
        for name, expr in (rule.instead.args if rule.instead else {}).items():
            self._means((*path, "instead", "args", name), expr, names, member)
        self._among((*path, "ask"), rule.ask, part.args, f"{member} has no")
        self._among((*path, "set"), rule.changes, part.args, f"{member} has no")
        self._among((*path, "tell"), rule.tell, names, f"{member} has no")

    def _means(self, path: Path, expr: Expr, names: set[str], member: str) -> None:
        missing = expr.names - names - EVERYWHERE - set(self.domain.constants)
        if missing:
            text = f"{', '.join(sorted(missing))} means nothing for {member}, to which the rule applies"
            quoted = next(filter(None, map(self.names.quoted, sorted(missing))), "")
            self.fault(path, text, quoted or "give it a `let`, or narrow `for`")
        self.expr(path, expr, expr.names)

    def _among(self, path: Path, given: Iterable[str], there: Iterable[str], says: str) -> None:
        for name in given:
            if name not in set(there):
                self.fault((*path, name), f"{says} {name}")

    # ---- wishes

    def _wish(self, path: Path, wish: Wish) -> None:
        part = self.domain.parts.get(wish.goal)
        if part is None:
            self.fault((*path, "goal"), f"there is no tool or act {wish.goal}")
            return
        self._among((*path, "slots"), wish.slots, part.args, f"{wish.goal} has no argument")
        self._among((*path, "else"), wish.otherwise, self.domain.wishes, "there is no wish")
        names = {*part.args, *part.let, *wish.limits}
        self.expr((*path, "when"), wish.when, names, DRAWN_CALLS)
        self.expr((*path, "only_if"), wish.only_if, names)
        for key, expr in wish.asks.items():
            self.expr((*path, "asks", key), expr, names)
        for name, slot in wish.slots.items():
            self._slot((*path, "slots", name), slot, names)

    def _slot(self, path: Path, slot: Slot, names: set[str]) -> None:
        one = names | {"it", "x", "w"}
        self.expr((*path, "expr"), slot.expr, names, DRAWN_CALLS)
        self.expr((*path, "not"), slot.differs, names)
        if slot.any is not None and slot.any not in self.domain.types and slot.any not in self.domain.tables:
            self.fault((*path, "any"), f"there is no enumeration or table {slot.any}")
        for key in ("choose", "pick", "all"):
            if (found := getattr(slot, key)) is not None:
                self.expr((*path, key, "from"), found.source, names, DRAWN_CALLS)
        if slot.all is not None:
            self.expr((*path, "all", "where"), slot.all.where, one)
        if slot.choose is not None:
            self.expr((*path, "choose", "by"), slot.choose.score, one)
        if slot.spread is not None:
            self.expr((*path, "spread", "total"), slot.spread.total, names)
            self.expr((*path, "spread", "of"), slot.spread.of, names)
            for index, kind in enumerate(slot.spread.over):
                self.expr((*path, "spread", "over", index), kind, one)

    def prompt(self) -> None:
        """Who calls, and what worked examples show, is there."""
        if self.domain.caller is not None and self.domain.caller not in self.domain.tables:
            self.fault(("caller",), f"there is no table {self.domain.caller}")
        for number, example in enumerate(self.domain.prompt.examples):
            for index, call in enumerate(example.calls):
                path = ("prompt", "examples", number, "calls", index)
                tool = self.domain.tools.get(call.tool)
                if tool is None:
                    self.fault((*path, "tool"), f"there is no tool {call.tool}")
                for name in sorted(set(call.args) - set(tool.args if tool else call.args)):
                    self.fault((*path, "args", name), f"{call.tool} has no argument {name}")
