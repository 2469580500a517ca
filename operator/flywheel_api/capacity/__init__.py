"""What a training and a round need and cost: memory by part, disk, traffic, time, GPU-hours, tokens. Pure arithmetic.

Every constant says where it is from: a published run (named by `owner/repo#number` or path), our own measurement on one
H200 (docs/recipes.md, docs/evidence/gpu), or reading of verl 0.9.1's code. tests/unit/api/test_capacity.py holds the
formulas against both kinds of rows and states how far they may be off. GB is 1e9 bytes, GiB 2^30.
"""

from flywheel_api.capacity.hardware import CARDS, LARGEST, PRODUCT_LABEL, Card, card_of
from flywheel_api.capacity.shape import Shape, UnknownShape, known, official, shape_of
from flywheel_api.capacity.text import estimate
from flywheel_api.capacity.training import Finding, Training, training
from flywheel_api.capacity.whole import RoundEstimate, round_estimate, span

__all__ = [
    "CARDS",
    "LARGEST",
    "PRODUCT_LABEL",
    "Card",
    "Finding",
    "RoundEstimate",
    "Shape",
    "Training",
    "UnknownShape",
    "card_of",
    "estimate",
    "known",
    "official",
    "round_estimate",
    "shape_of",
    "span",
    "training",
]
