"""Settings of every tier: a property has no deadline, since a loaded machine is no defect of the code."""

import gc
import os

from hypothesis import settings

# the same examples every time: a change is judged by what it changes; `make fuzz` draws new ones
settings.register_profile("flywheel", deadline=None, derandomize=True)
settings.register_profile("fuzz", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "flywheel"))


# What is imported and collected stays to the end: no collection of garbage need walk through it
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
