"""The stages of a round, from PIPELINE."""

from __future__ import annotations

from flywheel_api.stages import PIPELINE, Runs, Stage, StageDef
from maps.svg import GREY, Drawing

WIDTH, COLUMN, ROW, BOX = 900, 215, 62, (165, 34)
COLOUR = {Runs.OPERATOR: "#f1f5f9", Runs.JOB: "#dbeafe", Runs.POOL: "#fef3c7", Runs.RLJOB: "#dcfce7"}
BY_STAGE = {definition.stage: definition for definition in PIPELINE}


def depth(stage: Stage) -> int:
    """How many stages must come before it, one after the other."""
    return 1 + max((depth(before) for before in BY_STAGE[stage].after), default=-1)


def reaches(stage: Stage, other: Stage) -> bool:
    """Whether `other` comes before `stage`, directly or not."""
    return any(before is other or reaches(before, other) for before in BY_STAGE[stage].after)


def shown(definition: StageDef) -> list[Stage]:
    """What comes directly before, without what follows from the rest."""
    return [s for s in definition.after if not any(reaches(other, s) for other in definition.after)]


def column(definition: StageDef) -> int:
    """The reasoning track, what both share, the agentic track, pools."""
    if definition.runs is Runs.POOL:
        return 3
    return {"reasoning": 0, None: 1, "agentic": 2}[definition.track]


def picture() -> str:
    """Time goes down; full lines are `after`, dashed ones join a pool to the stages that ask it."""
    drawing = Drawing(WIDTH)
    drawing.text(20, 24, "The stages of a round", 14, bold=True)
    for place, runs in enumerate(COLOUR):
        drawing.box(300 + place * 120, 10, 16, 16, COLOUR[runs])
        drawing.text(322 + place * 120, 23, runs.value, 11)
    spots = {d.stage: (20 + column(d) * COLUMN, 56 + depth(d.stage) * ROW) for d in PIPELINE}
    width, height = BOX
    for definition in PIPELINE:
        x, y = spots[definition.stage]
        for before in shown(definition):
            drawing.line((spots[before][0] + width / 2, spots[before][1] + height), (x + width / 2, y))
        if definition.pool is not None:
            drawing.across(x + width, y + height / 2, spots[definition.pool][0], spots[definition.pool][1] + 17)
    for definition in PIPELINE:
        x, y = spots[definition.stage]
        drawing.box(x, y, width, height, COLOUR[definition.runs])
        drawing.middle(x + width / 2, y + 22, str(definition.stage), 12)
    drawing.text(20, 56 + ROW * (1 + max(map(depth, BY_STAGE))), "drawn from flywheel_api.stages.PIPELINE", 10, GREY)
    return drawing.document()
