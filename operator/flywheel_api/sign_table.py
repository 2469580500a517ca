"""The signs in the log of a training run: pattern, what it means, where it was seen. Data; `signs` says how it is read.

A line is compared from top to bottom and the first pattern that is found in it counts, so the specific stand before the
generic. Patterns are anchored to what a program writes (an exception's name, a library's prefix) wherever that can be:
models write about errors as well. A sign's advice stands in place of its end's own text where that would mislead.
"""

from __future__ import annotations

from flywheel_api.cluster_signs import CLUSTER_SIGNS
from flywheel_api.family_signs import FAMILY_SIGNS
from flywheel_api.machine_signs import MACHINE_SIGNS
from flywheel_api.setting_signs import SETTING_SIGNS
from flywheel_api.sign_rows import Sign

SIGNS: tuple[Sign, ...] = MACHINE_SIGNS + SETTING_SIGNS + CLUSTER_SIGNS + FAMILY_SIGNS
"""In the order of comparison."""
