"""SynthesizeReasoning: structural variants and persona re-skinnings of every mined problem, written by the Teacher.

Writes candidates.jsonl: problems without an answer (labels come from verification alone) whose lineage names their
parent and operator. Dropped and counted: malformed answers, variants that changed nothing, re-skinnings that lost a
number.
"""

from __future__ import annotations

from collections import Counter

from flywheel_api.records.reasoning import Persona, Problem
from flywheel_api.results import SynthesizedResult
from flywheel_api.stages import Stage
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult
from flywheel_jobs.reasoning import roles
from flywheel_jobs.reasoning.variants import Order, written


async def run(ctx: StageContext) -> StageResult:
    """Candidates, one for each order that the teacher carried out."""
    orders = plan(ctx, ctx.records(Stage.MINE_REASONING, "mined.jsonl", Problem))
    candidates = await written(ctx, orders)
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
