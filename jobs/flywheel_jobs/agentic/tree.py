"""Behaviour trees (docs/method.md), checked for shape and against the domain's state machine."""

from __future__ import annotations

from collections.abc import Iterator

from flywheel_api.records.agentic import Action, Branch, Call, Tree
from flywheel_jobs.envs.engine import Domain, Tables, replay


def walk(branches: list[Branch], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Branch]]:
    """All branches with their paths of ids from the root, in order."""
    for branch in branches:
        here = (*above, branch.id)
        yield here, branch
        yield from walk(branch.next, here)


def problems(tree: Tree, domain: Domain, parent: tuple[str, ...]) -> list[str]:
    """What is wrong with a tree, in words for a repair; empty when it is right.

    `parent` is the path of the branch that the parent task followed: the tree must hold it, and every other branch must
    lie below it, one level deeper, so that depth grows with the rounds.
    """
    found = list(walk(tree.branches))
    paths = [path for path, _ in found]
    wrong = [f"branch id {p[-1]!r} occurs twice in its path or tree" for p in paths if _repeated(p, paths)]
    if parent not in paths:
        wrong.append(f"the parent branch {'/'.join(parent)} is missing")
    ancestors = {parent[:n] for n in range(1, len(parent) + 1)}
    for path, branch in found:
        if path not in ancestors and path[:-1] != parent:
            wrong.append(f"branch {'/'.join(path)} does not lie directly below {'/'.join(parent)}")
        wrong += branch_problems(branch, domain)
    return wrong[:20]


def _repeated(path: tuple[str, ...], paths: list[tuple[str, ...]]) -> bool:
    return path[-1] in path[:-1] or paths.count(path) > 1


def branch_problems(branch: Branch, domain: Domain) -> list[str]:
    """What is wrong with one branch: unknown names, impossible states, or a path that its own state refuses."""
    wrong = [f"{branch.id}: no rule {r!r}" for r in branch.rules if r not in {x.id for x in domain.rules}]
    unknown = [t for t in (*branch.path, *branch.trap) if domain.tool(t) is None]
    wrong += [f"{branch.id}: no tool {t!r}" for t in unknown]
    try:
        row = domain.table(domain.main_table).row(**branch.state)
    except ValueError as error:
        return [*wrong, f"{branch.id}: {error}"]
    if unknown:
        return wrong
    writes = [t for t in branch.path if t in domain.writes]
    if branch.action is Action.REFUSE and writes:
        wrong.append(f"{branch.id}: a refusal must not write, yet its path calls {writes[0]}")
    if branch.action is Action.PROCEED and not writes:
        wrong.append(f"{branch.id}: action proceed needs a write in its path")
    if branch.path[0] not in domain.reads:
        wrong.append(f"{branch.id}: the path must begin with a look-up, one of {', '.join(domain.reads)}")
    if branch.trap and not set(branch.trap) - set(branch.path):
        wrong.append(f"{branch.id}: the trap asks for nothing that the path does not")
    key = domain.key_range[0]
    tables: Tables = {domain.main_table: {str(key): row}}
    _, log = replay(domain, tables, [Call(name=t, arguments={domain.key.name: key}) for t in branch.path])
    wrong += [f"{branch.id}: {c.name} answers {c.output!r} in that state" for c in log if c.status != "ok"]
    return wrong
