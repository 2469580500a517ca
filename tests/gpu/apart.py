"""verl plug-in: several trainings on one machine, each with a Ray of its own, do not meet.

verl names the socket through which weights go to vLLM by Ray's job, and the first job of every Ray has the same id.
"""

from __future__ import annotations

import os

from ray.runtime_context import RuntimeContext

_job_id = RuntimeContext.get_job_id
RuntimeContext.get_job_id = lambda self: f"{_job_id(self)}-{os.environ['FW_PART']}"
