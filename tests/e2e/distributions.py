"""Whether a pool draws from the trainer's distribution: `python distributions.py MODEL`, in the ray-cpu image.

vLLM as a pool starts it answers requests as a stage writes them; transformers, with which the trainer computes, says
what each next token's probability is. MODEL is copied beside a `generation_config.json` with habits (top_k 20, a
repetition penalty) that neither may follow. Prints one JSON object.

- `logprobs`: the greatest difference of log-probabilities over texts that the pool sampled.
- `draws`: first tokens drawn by the pool, as often as the trainer's probabilities say? The p-value of a G-test.
- `habits`: the control. The same draws as the checkpoint's habits would have them: the test must notice.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from flywheel_api.artifacts import Owner
from flywheel_api.sampling import NEUTRAL
from flywheel_api.stages import PoolConfig
from flywheel_jobs.endpoints.asking import Ask, Learnt
from flywheel_jobs.rollout.app import cpu_variables, engine_arguments

HABITS = {"top_k": 20, "top_p": 0.8, "temperature": 0.7, "repetition_penalty": 1.1}
QUESTIONS = ("Name an animal.", "What is 7 + 5?", "Write one sentence about the sea.")
DRAWS, TOKENS = 512, 24
TEXTS = 4  # sampled texts of each question whose every token is compared
Params = dict[str, Any]


def with_habits(model: Path, folder: Path) -> Path:
    """The model beside a generation_config.json that asks for another distribution."""
    copy = folder / "model"
    copy.mkdir()
    for file in model.iterdir():
        if file.is_file():
            (copy / file.name).symlink_to(file.resolve())
    config = copy / "generation_config.json"
    known = json.loads(config.read_text()) if config.exists() else {}
    config.unlink(missing_ok=True)
    config.write_text(json.dumps({**known, **HABITS, "do_sample": True}))
    return copy


def request(question: str, tokens: int, seed: int, count: int) -> dict[str, object]:
    """The body that a stage sends to a pool of ours."""
    ask = Ask("policy", ({"role": "user", "content": question},), 1.0, 1.0, tokens, written=NEUTRAL)
    return ask.body(count, seed, Learnt())


class Pool:
    """vLLM with a pool's arguments, asked through its server's own reading of a request."""

    def __init__(self, model: Path) -> None:
        from vllm import LLM

        owner = Owner(kind="RolloutPool", namespace="e2e", name="pool", uid="uid")
        config = PoolConfig(
            owner=owner, model=str(model), directory=str(model), served_model_name="policy", replicas=1,
            gpus_per_replica=0, engine={"max-model-len": 256, "max-num-seqs": 128},
        )  # fmt: skip
        self.llm = LLM(model=str(model), **engine_arguments(config))
        self.defaults = self.llm.get_default_sampling_params()

    def draw(self, prompt: list[int], body: dict[str, object]) -> list[tuple[list[int], list[float]]]:
        """Tokens of each sample, with their log-probabilities."""
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

        asked = ChatCompletionRequest.model_validate(body | {"logprobs": True, "top_logprobs": 0})
        named = ("top_k", "top_p", "min_p", "temperature", "repetition_penalty")
        own = {name: getattr(self.defaults, name) for name in named}
        most = body["max_tokens"]
        params = asked.to_sampling_params(most, own)
        (answer,) = self.llm.generate({"prompt_token_ids": prompt}, params, use_tqdm=False)
        found = []
        for sample in answer.outputs:
            ids = list(sample.token_ids)
            found.append((ids, [at[i].logprob for at, i in zip(sample.logprobs, ids, strict=True)]))
        return found


class Trainer:
    """The model as the trainer computes it."""

    def __init__(self, model: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch = torch
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="sdpa").eval()

    def prompt(self, question: str) -> list[int]:
        """Token ids of a question, in the model's own template."""
        asked = [{"role": "user", "content": question}]
        ids = self.tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=True, return_dict=True)
        return list(ids["input_ids"])

    def logprobs(self, ids: list[int]) -> Any:
        """Log-probabilities of every next token after each of these."""
        with self.torch.no_grad():
            logits = self.model(self.torch.tensor([ids])).logits[0]
        return self.torch.log_softmax(logits.float(), dim=-1)


def p_value(seen: Counter[int], probability: list[float]) -> float:
    """Of a G-test that draws come from these probabilities; rare tokens (under 5 expected) count as one."""
    total = sum(seen.values())
    cells = [(seen[i], total * p) for i, p in enumerate(probability) if total * p >= 5]
    rest = (total - sum(n for n, _ in cells), total - sum(e for _, e in cells))
    cells += [rest] if rest[1] > 1e-9 * total else []
    g = 2 * sum(n * math.log(n / e) for n, e in cells if n)
    import torch

    freedom = max(1, len(cells) - 1)
    return float(torch.special.gammaincc(torch.tensor(freedom / 2.0), torch.tensor(max(0.0, g) / 2.0)))


def first_tokens(pool: Pool, trainer: Trainer) -> list[float]:
    """p-values of the first tokens drawn, by question."""
    found = []
    for number, question in enumerate(QUESTIONS):
        prompt = trainer.prompt(question)
        drawn = [tokens[0] for tokens, _ in pool.draw(prompt, request(question, 1, 11 + number, DRAWS))]
        found.append(p_value(Counter(drawn), trainer.logprobs(prompt)[-1].exp().tolist()))
    return found


def furthest(pool: Pool, trainer: Trainer) -> float:
    """The greatest difference of a sampled token's log-probability."""
    found = 0.0
    for question in QUESTIONS:
        prompt = trainer.prompt(question)
        for tokens, said in pool.draw(prompt, request(question, TOKENS, 5, TEXTS)):
            own = trainer.logprobs(prompt + tokens)
            for place, (token, logprob) in enumerate(zip(tokens, said, strict=True)):
                found = max(found, abs(float(own[len(prompt) - 1 + place][token]) - logprob))
    return found


def main(model: Path) -> None:
    """Prints what was found."""
    os.environ.update(cpu_variables() | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"})
    folder = Path(tempfile.mkdtemp())
    try:
        copy = with_habits(model, folder)
        trainer, pool = Trainer(copy), Pool(copy)
        found: Params = {"logprobs": furthest(pool, trainer), "draws": first_tokens(pool, trainer)}
        # the control: what the checkpoint's file would have made of a request that says less
        from vllm import SamplingParams

        pool.defaults = SamplingParams(**HABITS)
        drawn = []
        for number, question in enumerate(QUESTIONS):
            prompt = trainer.prompt(question)
            body = request(question, 1, 11 + number, DRAWS)
            less = {k: v for k, v in body.items() if k not in (*NEUTRAL, "top_p", "temperature")}
            tokens = [t[0] for t, _ in pool.draw(prompt, less)]
            drawn.append(p_value(Counter(tokens), trainer.logprobs(prompt)[-1].exp().tolist()))
        print(json.dumps({**found, "habits": drawn}), flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
