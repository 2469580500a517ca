"""SynthesizeReasoning: structural variants and persona re-skinnings of every mined problem, written by the Teacher.

Writes candidates.jsonl: problems without an answer (labels come from verification alone) whose lineage names their
parent and operator. Dropped and counted: malformed answers, variants that changed nothing, re-skinnings that lost a
number.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from flywheel_api.records.base import Lineage, Message, record_id
from flywheel_api.records.reasoning import Persona, Problem
from flywheel_api.results import SynthesizedResult
from flywheel_api.round import Role
from flywheel_api.stages import Stage
from flywheel_jobs.core.errors import ItemDropped, ValidationFailure
from flywheel_jobs.endpoints.structured import ask
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult
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


async def run(ctx: StageContext) -> StageResult:
    """Candidates, one for each order that the teacher carried out."""
    orders = plan(ctx, ctx.records(Stage.MINE_REASONING, "mined.jsonl", Problem))
    teacher = ctx.llm(Role.TEACHER)

    async def write(order: Order) -> Problem:
        messages = roles.teacher_messages(order.parent, order.operator, order.number, order.persona)
        variant = await ask(teacher, messages, roles.Variant, "variant", seed=ctx.seed("variant", order.key))
        return candidate(ctx, order, variant)

    written = await ctx.map_items(orders, lambda o: o.key, write, Problem, text="writing variants")
    candidates = list(written.values())
    return StageResult(
        SynthesizedResult(by_operator=Counter(c.lineage.operator for c in candidates)),
        [OutputFile.of("candidates.jsonl", Problem, candidates)],
        counts=ctx.counts(len(candidates)),
    )


def plan(ctx: StageContext, mined: list[Problem]) -> list[Order]:
    """The variants to write: per problem, structural operators by its band, then personas drawn by its id."""
    synthesis = ctx.reasoning.synthesis
    people = ctx.records(Stage.PREPARE, "seeds/personas.jsonl", Persona)
    if synthesis.persona and not people:
        raise ValidationFailure(
            "persona variants need personas: set spec.reasoning.synthesis.persona to 0 or give some"
        )
    orders = []
    for problem in mined:
        for operator, number in roles.structural(problem.band, synthesis.structural):
            orders.append(Order(problem, operator, number))
        drawn = ctx.rng("persona", problem.id).sample(people, min(synthesis.persona, len(people)))
        orders += [Order(problem, roles.PERSONA, i, persona) for i, persona in enumerate(drawn)]
    return orders


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
