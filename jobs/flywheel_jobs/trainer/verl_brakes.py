"""verl plug-in: puts `brakes` on verl's training engines, in whichever process they are loaded.

verl imports it in all its processes (VERL_USE_EXTERNAL_MODULES). Most of them never load an engine, so nothing of verl
is imported here: the class is patched when its module is.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from flywheel_jobs.trainer.brakes import braked

ENGINE = "verl.workers.engine.base"


def brake(module: ModuleType) -> None:
    """All engines inherit `train_batch`; a verl in which that is not so must be looked at, not trained with."""
    module.BaseEngine.train_batch = braked(module.BaseEngine.train_batch)


class _WhenLoaded(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != ENGINE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            brake(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if ENGINE in sys.modules:
    brake(sys.modules[ENGINE])
else:
    sys.meta_path.insert(0, _WhenLoaded())
