"""`python -m flywheel_jobs stage`: the CPU stages of a round, each `async def run(ctx) -> StageResult` in a module."""

from __future__ import annotations

from flywheel_api.stages import Stage
from flywheel_jobs.harness import runner
from flywheel_jobs.harness.context import StageContext, StageResult
from flywheel_jobs.stages import (
    evaluate_base,
    evaluate_candidate,
    expand_agentic,
    export,
    gate,
    import_model,
    invert_agentic,
    measure_reasoning,
    mine_reasoning,
    package,
    prepare,
    report,
    seed_agentic,
    solve_agentic,
    synthesize_reasoning,
    verify_reasoning,
)

STAGES: dict[Stage, runner.Work] = {
    Stage.PREPARE: prepare.run,
    Stage.IMPORT_MODEL: import_model.run,
    Stage.EVALUATE_BASE: evaluate_base.run,
    Stage.MINE_REASONING: mine_reasoning.run,
    Stage.SYNTHESIZE_REASONING: synthesize_reasoning.run,
    Stage.VERIFY_REASONING: verify_reasoning.run,
    Stage.MEASURE_REASONING: measure_reasoning.run,
    Stage.SEED_AGENTIC: seed_agentic.run,
    Stage.EXPAND_AGENTIC: expand_agentic.run,
    Stage.INVERT_AGENTIC: invert_agentic.run,
    Stage.SOLVE_AGENTIC: solve_agentic.run,
    Stage.PACKAGE: package.run,
    Stage.EVALUATE_CANDIDATE: evaluate_candidate.run,
    Stage.GATE: gate.run,
    Stage.EXPORT: export.run,
    Stage.REPORT: report.run,
}


def main() -> int:
    """Entry point `stage`; returns the exit code."""
    drawn = {stage: work if stage is Stage.REPORT else with_page(work) for stage, work in STAGES.items()}
    return runner.run(drawn, {Stage.PREPARE: prepare.again})


def with_page(work: runner.Work) -> runner.Work:
    """The stage, once its first shard has drawn what the round has come to."""

    async def run(ctx: StageContext) -> StageResult:
        if ctx.shard == 0:
            await report.so_far(ctx)
        return await work(ctx)

    return run
