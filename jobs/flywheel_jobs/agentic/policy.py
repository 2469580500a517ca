"""The policy document of a task: which rules stand in it. It never gives the answer away.

It holds the rules that speak about the wishes and distractors of every verdict, and depends on the wishes alone. A
compact domain's holds fewer: the rules that put one call in another's place, those that decide, and one refusal where
none decides, so that a document with a refusal says nothing about the state.
"""

from __future__ import annotations

import random

from flywheel_domains.domain import Domain
from flywheel_domains.words import document, document_text
from flywheel_jobs.agentic.right import Right


def rule_ids(*rights: Right) -> list[str]:
    """Ids of the rules of a document, in its order: one document for a case and its twins."""
    domain, case = rights[0].domain, rights[0].case
    ids = list(document(domain, case))
    if not domain.prompt.compact:
        return ids
    wanted = {rule.id for rule in domain.rules if rule.verdict == "instead"}
    for right in rights:
        wanted |= right.behaviour.rules | _asked_by(right)
    refusing = [rule.id for rule in domain.rules if rule.verdict == "deny"]
    if refusing and not wanted & set(refusing):
        wanted.add(random.Random(f"{case.seed}/{sorted(map(str, case.wants[0].said.values()))}").choice(refusing))
    return [rule.id for rule in domain.rules if rule.id in wanted]


def _asked_by(right: Right) -> set[str]:
    """Rules for whose sake something is asked."""
    asked = {slot for result in right.behaviour.results for slot in result.asked}
    return {rule.id for rule in right.domain.rules if rule.modifier == "needs" and asked & set(rule.ask)}


def text(domain: Domain, ids: list[str]) -> str:
    """The document: sentences in a row where the prompt is compact, else a line each."""
    if domain.prompt.compact:
        return " ".join(domain.rule(rule).say for rule in ids)
    return document_text(domain, ids)
