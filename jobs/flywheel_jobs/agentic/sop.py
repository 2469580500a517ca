"""The policy text of a task: the rules that its branch touches, and others so that it does not give the branch away.

Conditions only: a tool's name or a word of order would hand the agent the procedure.
"""

from __future__ import annotations

import random
import re

from flywheel_api.records.agentic import Branch
from flywheel_jobs.envs.engine import Domain

ORDER_WORDS = frozenset(
    {"first", "then", "next", "before", "after", "afterwards", "finally", "once", "later", "step", "steps", "second"}
)
_WORD = re.compile(r"[A-Za-z_]+")
WANTED_RULES = 2  # at least: the touched rules and distractors; keeps the compact prompt under 300 tokens


def rule_ids(domain: Domain, branch: Branch, rng: random.Random) -> list[str]:
    """Ids of the rules of a task's policy, in the domain's order.

    The distractor is the rule of the other ordinary outcome where there is one, or else any other rule: a policy that
    held only the touched rule would tell the agent the state that it has to look up.
    """
    chosen = set(branch.rules)
    others = [r.id for r in domain.rules if r.id not in chosen]
    usual = {r.id for r in domain.rules if r.ordinary}
    while others and len(chosen) < max(WANTED_RULES, len(branch.rules) + (len(branch.rules) > 1)):
        pick = rng.choice([r for r in others if r in usual] or others)
        others.remove(pick)
        chosen.add(pick)
    return [r.id for r in domain.rules if r.id in chosen]


def text(domain: Domain, ids: list[str]) -> str:
    """The policy text."""
    return " ".join(domain.rule(i).text for i in ids)


def problems(policy: str, domain: Domain) -> list[str]:
    """Tool names and words of order in a policy text."""
    words = _WORD.findall(policy)
    named = [t.name for t in domain.tools if t.name in words]
    ordered = sorted({w.lower() for w in words} & ORDER_WORDS)
    return [f"names the tool {n}" for n in named] + [f"prescribes an order: {w!r}" for w in ordered]
