"""The words for why an item was dropped, and what each means. docs/troubleshooting.md has the table.

An item is dropped for what it is or for what was said of it, never for weather: a server that is busy or away is asked
again. Words of an endpoint's answer are those of docs/reference/endpoints.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

DROPS: Final[Mapping[str, str]] = {
    # Prepare, and whatever screens problems later
    "wrong-row": "a row of a file has no question, no single answer, is no JSON, ...: `quarantine.jsonl` names it",
    "answer-in-question": "the question marks its own answer",
    "answer-not-checkable": "an answer, or what was voted, with which nothing can be compared, such as a proof",
    "duplicate": "the same question with the same context",
    "near-duplicate": "nearly the same words with the same numbers and signs; or a task like an earlier one",
    "contaminated": "an item of a suite of this round, in the question or in a message before it",
    "contaminated-values": "the numbers and the answer of a short item of a suite",
    "beyond-max-problems": "not drawn: `mining.maxProblems` are",
    "trained-before": "an earlier round of the campaign trained on it, and it is not replayed",
    # labels
    "votes-disagree": "no answer has the majority of independent votes that a label needs: the problem is not clear, "
    "or the Solver is too weak",
    "no-answer": "every vote refused or gave no answer: look at what the Solver says, and at its `sampling.maxTokens`",
    # what the Teacher writes
    "invalid-variant": "the Teacher's variant was not in the form that is asked for, nor after one repair",
    "invalid-tree": "the same of a tree of branches",
    "invalid-user-text": "the same of what a task's user says first",
    "invalid-reply": "the same of what the simulated user says",
    "unchanged": "a variant that is its problem again",
    "values-not-preserved": "a variant that was to keep the values and has others",
    # difficulty for the policy
    "solved": "the policy is always right",
    "too-hard-for-policy": "its pass rate lies below the band",
    "too-easy-for-policy": "its pass rate lies above the band",
    "more-than-needed": "in the band, and there were enough",
    # agentic tasks
    "no-branch": "nothing that differs from a seed can be made below it",
    "not-needed": "seeds that no tree was needed of",
    "over-limit": "more than `maxTasks`, or than seeds are taken",
    "unprovable": "look-ups of the domain's tools do not lead to what is right",
    "held-out": "the case of an item that is held out for evaluation",
    "in-earlier-round": "an earlier round asked the same",
    "trap-taken": "the Solver did what the task's trap invites to",
    "database-differs": "the state after the Solver's attempt is not the right one",
    "untraceable": "the Solver acted without having looked up or confirmed what it acted on",
    "branch-missed": "the Solver did not tell the user what the branch asks for",
    "never-ended": "the Solver's conversation reached a limit before anybody closed it",
    # endpoints
    "request-refused": "the server refuses this request, and answers one of ours",
    "too-long": "longer than the model's window",
    "filtered": "the server's filter refused it: counted, never scored",
    "not-independent": "choices that are copies of each other: a cache answers, and a copy is no vote",
    "outage": "samples of a training whose environment or endpoint was away: masked, no reward",
    # training
    "unscored": "samples of a training that could not be scored",
    "overlong": "samples at their token limit, where `algorithm.overlong` is Mask",
    "prompt-too-long": "longer than `algorithm.maxPromptTokens`",
    # anything else
    "crashed": "the work on it failed by an error of the program or a domain: the trace is in the log; more than a few "
    "end the stage",
}
