"""Variants of problems, written by the Teacher: one order, one candidate without an answer, or a reason why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flywheel_api.records.base import Lineage, Message, record_id
from flywheel_api.records.reasoning import Persona, Problem
from flywheel_api.round import Role
from flywheel_jobs.core.errors import ItemDropped
from flywheel_jobs.endpoints.structured import ask
from flywheel_jobs.harness.context import StageContext
from flywheel_jobs.reasoning import roles
from flywheel_jobs.reasoning.text import normalised, numbers


@dataclass(frozen=True)
class Order:
    """One variant to be written."""

    parent: Problem
    operator: str
    number: int
    persona: Persona | None = None

    @property
    def key(self) -> str:
        """The item's key."""
        return f"{self.parent.id}/{self.operator}/{self.number}"


async def written(ctx: StageContext, orders: Sequence[Order], phase: str = "items") -> list[Problem]:
    """Candidates of the orders that the Teacher carried out, in their order; drops are counted."""
    teacher = ctx.llm(Role.TEACHER)

    async def write(order: Order) -> Problem:
        messages = roles.teacher_messages(order.parent, order.operator, order.number, order.persona)
        variant = await ask(teacher, messages, roles.Variant, "variant", seed=ctx.seed("variant", order.key))
        return candidate(ctx, order, variant)

    return list((await ctx.map_items(orders, lambda o: o.key, write, Problem, phase, "writing variants")).values())


def candidate(ctx: StageContext, order: Order, variant: roles.Variant) -> Problem:
    """The candidate record of a variant. Raises ItemDropped."""
    parent = order.parent
    question = variant.question.strip()
    context = [Message(role=m.role, content=m.content) for m in variant.context or []] or parent.context
    whole, before = parent.model_copy(update={"question": question, "context": context}).whole, parent.whole
    if normalised(whole) == normalised(before):
        raise ItemDropped("unchanged")
    if order.persona is not None and numbers(whole) != numbers(before):
        raise ItemDropped("values-not-preserved", f"{parent.question!r} became {question!r}")
    typed = variant.typed.model_dump() if variant.typed else None
    return Problem(
        id=record_id("problem", parent.id, order.operator, *([] if context == parent.context else [whole]), question),
        lineage=Lineage(
            parent_ids=[parent.id],
            round=ctx.config.owner.name,
            operator=order.operator,
            root_id=parent.lineage.root_id or parent.id,
        ),
        question=question,
        context=context,
        family=typed["family"] if typed else parent.family,
        level=typed["level"] if typed else None,
        template=f"{order.operator}/{parent.template}",
        typed=typed,
        persona_id=order.persona.id if order.persona else None,
    )
