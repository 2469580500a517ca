"""`domain test`: everything that can be known to be wrong with a domain before a GPU is asked for.

The checks are a table (`table.py`). The first loads the domain; what it finds is all that is said, since a domain that
does not load has no rules to play. The others look at its words, or at cases drawn from it (`sample.py`).
"""

from flywheel_domains.check.report import Finding, Report
from flywheel_domains.check.table import check

__all__ = ["Finding", "Report", "check"]
