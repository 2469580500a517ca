"""The policy of the experiment: a small model that is sampled and updated on CPU, its common prompt computed once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from flywheel_api.records.reasoning import Problem
from flywheel_jobs.seeds.numeracy import prompt_context

NEW_TOKENS = 8  # of an answer; the longest right one of the suite takes 5
ROWS = 96  # sampled side by side
WEIGHT_DECAY, CLIP = 0.01, 1.0


@dataclass(frozen=True)
class Answer:
    """What the policy wrote."""

    tokens: tuple[int, ...]
    text: str
    cut: bool


@dataclass(frozen=True)
class Optimiser:
    """How a round's updates are made. `kl` is the weight of the KL to the model that the round began with."""

    learning_rate: float
    warm_up: int = 0
    kl: float = 0.0


@dataclass(frozen=True)
class Update:
    """What an update was like."""

    gradient: float
    entropy: float
    kl: float


class Policy:
    """A model with its optimiser. Weights are fp32; it is sampled in bf16, as vLLM does."""

    def __init__(self, folder: str, seed: int, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        self._tokens: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self._model.eval()
        self._end = int(self._tokens.convert_tokens_to_ids("<|im_end|>"))
        context = [{"role": m.role, "content": m.content} for m in prompt_context()]
        self._context = self._tokens.apply_chat_template(context, tokenize=False)
        self._prefix = self._encoded(self._context)
        self._sampler: Any = None
        self._start: Any = None
        self._adam: Any = None
        self._how = Optimiser(0.0)
        self._updates = 0
        self._sync()

    def begin_round(self, how: Optimiser) -> None:
        """Fresh moments, as every training has them, and the model of now as the start of the KL."""
        self._how, self._updates = how, 0
        self._adam = torch.optim.AdamW(
            self._model.parameters(), lr=how.learning_rate, betas=(0.9, 0.999), weight_decay=WEIGHT_DECAY
        )
        self._start = copy.deepcopy(self._sampler) if how.kl > 0 else None

    def sample(self, problems: Sequence[Problem], n: int) -> list[list[Answer]]:
        """`n` answers to each problem, at temperature 1."""
        rows = [self._question(p) for p in problems for _ in range(n)]
        found = [a for start in range(0, len(rows), ROWS) for a in self._sampled(rows[start : start + ROWS])]
        return [found[i * n : (i + 1) * n] for i in range(len(problems))]

    def update(self, problems: Sequence[Problem], answers: Sequence[Answer], advantages: Sequence[float]) -> Update:
        """One step of the policy gradient, token-mean over all answers.

        Flat advantages move the moments on, as they do where nothing stops it: leaving such a step out is the caller's.
        """
        asked = [self._question(p) for p in problems]
        said = [list(a.tokens) for a in answers]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found, entropy, rows = self._told(self._model, asked, said)
        weights = torch.tensor(advantages)[rows]
        loss, kl = -(weights * found).mean(), 0.0
        if self._start is not None:
            with torch.no_grad():
                before, _, _ = self._told(self._start, asked, said)
            ratio = (before - found).clamp(-10, 10)
            estimate = (ratio.exp() - ratio - 1).mean()
            loss, kl = loss + self._how.kl * estimate, float(estimate.detach())
        return Update(self._step(loss), float(entropy.mean()), kl)

    def fine_tune(self, problems: Sequence[Problem]) -> float:
        """One step towards the right answers: mean loss over their tokens, as verl's SFT trainer has it."""
        asked = [self._question(p) for p in problems]
        said = [[*self._encoded(p.answer or "")[0].tolist(), self._end] for p in problems]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found, _, _ = self._told(self._model, asked, said)
        loss = -found.mean()
        self._step(loss)
        return float(loss.detach())

    def _step(self, loss: Any) -> float:
        """The update; the norm of its gradient."""
        self._adam.zero_grad()
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self._model.parameters(), CLIP))
        self._updates += 1
        for group in self._adam.param_groups:
            group["lr"] = self._how.learning_rate * min(1.0, self._updates / (self._how.warm_up + 1))
        self._adam.step()
        self._sync()
        return norm

    def _sync(self) -> None:
        """The sampler gets the weights of now."""
        if self._sampler is None:
            self._sampler = copy.deepcopy(self._model).to(torch.bfloat16)
            return
        with torch.no_grad():
            for mine, new in zip(self._sampler.parameters(), self._model.parameters(), strict=True):
                mine.copy_(new)

    def _question(self, problem: Problem) -> list[int]:
        whole = self._tokens.apply_chat_template(problem.messages(), tokenize=False, add_generation_prompt=True)
        return list(self._encoded(whole.removeprefix(self._context))[0].tolist())

    def _encoded(self, text: str) -> Any:
        return self._tokens(text, return_tensors="pt", add_special_tokens=False).input_ids

    def _cache(self, model: Any, rows: int) -> Any:
        """Keys and values of the prompt that all problems begin with, for so many rows; gradients pass through."""
        once = model.model(self._prefix, use_cache=True).past_key_values
        many = DynamicCache()
        for number, layer in enumerate(once.layers):
            many.update(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), number)
        return many

    def _padded(self, rows: Sequence[Sequence[int]], left: bool) -> tuple[Any, Any]:
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self._end)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for number, row in enumerate(rows):
            place = slice(width - len(row), width) if left else slice(0, len(row))
            ids[number, place] = torch.tensor(row)
            mask[number, place] = 1
        return ids, mask

    def _whole(self, mask: Any) -> tuple[Any, Any]:
        """The mask with the prompt before it, and the positions of what comes after the prompt."""
        full = torch.cat([torch.ones(mask.shape[0], self._prefix.shape[1], dtype=torch.long), mask], 1)
        return full, (full.cumsum(1) - 1)[:, self._prefix.shape[1] :]

    @torch.no_grad()
    def _sampled(self, rows: Sequence[Sequence[int]]) -> list[Answer]:
        ids, mask = self._padded(rows, left=True)
        model, cache = self._sampler, self._cache(self._sampler, len(rows))
        full, place = self._whole(mask)
        made: list[list[int]] = [[] for _ in rows]
        done = torch.zeros(len(rows), dtype=torch.bool)
        for _ in range(NEW_TOKENS):
            out = model(ids, past_key_values=cache, attention_mask=full, position_ids=place, logits_to_keep=1)
            ids = _drawn(out.logits[:, -1].float())
            for number in range(len(rows)):
                if not done[number]:
                    made[number].append(int(ids[number, 0]))
            done |= ids[:, 0] == self._end
            if done.all():
                break
            full = torch.cat([full, torch.ones(len(rows), 1, dtype=torch.long)], 1)
            place = place[:, -1:] + 1
        return [self._answer(row) for row in made]

    def _answer(self, tokens: Sequence[int]) -> Answer:
        text = self._tokens.decode([t for t in tokens if t != self._end]).strip()
        return Answer(tuple(tokens), text, cut=tokens[-1] != self._end)

    def _told(self, model: Any, asked: Sequence[list[int]], said: Sequence[list[int]]) -> tuple[Any, Any, Any]:
        """Log-probability and entropy of each token of the answers, and the number of its answer."""
        ids, mask = self._padded([a + s for a, s in zip(asked, said, strict=True)], left=False)
        full, place = self._whole(mask)
        cache = self._cache(model, len(ids))
        hidden = model.model(ids, past_key_values=cache, attention_mask=full, position_ids=place, use_cache=True)[0]
        kept = torch.zeros(ids.shape, dtype=torch.bool)
        for number, (a, s) in enumerate(zip(asked, said, strict=True)):
            kept[number, len(a) - 1 : len(a) + len(s) - 1] = True
        logs = torch.log_softmax(model.lm_head(hidden[kept]).float(), -1)
        told = ids.roll(-1, 1)[kept]
        return logs.gather(-1, told[:, None])[:, 0], -(logs.exp() * logs).sum(-1).detach(), kept.nonzero()[:, 0]


def _drawn(logits: Any) -> Any:
    """One token a row at temperature 1, by the inverse of the distribution (half of multinomial's time)."""
    whole = torch.softmax(logits, -1).cumsum(-1)
    return torch.searchsorted(whole, torch.rand(len(logits), 1) * whole[:, -1:]).clamp(max=logits.shape[1] - 1)
