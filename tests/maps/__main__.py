"""Write the pictures: `make generate`, or `python -m maps` with operator, jobs and tests on PYTHONPATH."""

from __future__ import annotations

from maps import pictures, write

for path in write(pictures()):
    print(path)
