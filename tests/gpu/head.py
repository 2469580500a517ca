"""verl plug-in: the process that drives a training sees no GPU, as on a cluster, where it runs on Ray's head.

Its Ray sees them, since here it starts the only node.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import ray

_KEY = "CUDA_VISIBLE_DEVICES"
_init = ray.init


@functools.wraps(_init)
def init(*given: Any, **named: Any) -> Any:
    hidden = os.environ.pop(_KEY, None)
    try:
        return _init(*given, **named)
    finally:
        if hidden is not None:
            os.environ[_KEY] = hidden


ray.init = init
