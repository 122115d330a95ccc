"""Sweep w over the demo triple: merge, answer held-out problems greedily, count.

    venv/bin/python assets/demo/sweep.py assets/demo
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from problems import LANGUAGES, Problem, held_out_problems, is_in_steps, is_right

WEIGHTS = (-0.5, 0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
ROLES = ("pre", "post", "target")
PROBLEMS = 300
HEADER = "| model | right | 95 % interval | in steps | mean tokens | p against w = 0 |\n|---|---|---|---|---|---|"
Tensors = dict[str, torch.Tensor]


@dataclass
class Score:
    """How one model did: right or wrong for each problem, and how it answered."""

    right: list[bool]
    in_steps: float
    mean_tokens: float

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return sum(self.right) / len(self.right)


def load_triple(folder: Path) -> dict[str, Tensors]:
    """The weights of pre, post and target."""
    return {role: load_file(folder / role / "model.safetensors") for role in ROLES}


def merge(triple: dict[str, Tensors], w: float) -> Tensors:
    """target + w·(post − pre) in f32, rounded once to bf16; at w = 0 the target itself."""
    if w == 0:
        return triple["target"]
    factor = torch.tensor(w, dtype=torch.float32)
    return {
        name: (target.float() + factor * (triple["post"][name].float() - triple["pre"][name].float())).bfloat16()
        for name, target in triple["target"].items()
    }


@torch.inference_mode()
def score(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, problems: list[Problem], language: str) -> Score:
    """Answer all problems in one greedy batch."""
    prompts = tokenizer([p.question(language) for p in problems], padding=True, return_tensors="pt")
    prompts.pop("token_type_ids", None)
    output = model.generate(**prompts, do_sample=False, max_new_tokens=100)[:, prompts["input_ids"].shape[1] :]
    answers = tokenizer.batch_decode(output, skip_special_tokens=True)
    return Score(
        right=[is_right(p, a) for p, a in zip(problems, answers)],
        in_steps=sum(map(is_in_steps, answers)) / len(problems),
        mean_tokens=(output != tokenizer.pad_token_id).sum().item() / len(problems),
    )


def wilson(right: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z, p = 1.959964, right / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def mcnemar(a: list[bool], b: list[bool]) -> float:
    """Exact two-sided p that two models are equally often right on the same problems."""
    gained = sum(y and not x for x, y in zip(a, b))
    lost = sum(x and not y for x, y in zip(a, b))
    n = gained + lost
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(min(gained, lost) + 1)) / 2**n)


def row(label: str, result: Score, baseline: Score | None) -> str:
    """One line of a table."""
    low, high = wilson(sum(result.right), len(result.right))
    p = "" if baseline in (None, result) else f"{mcnemar(baseline.right, result.right):.1g}"
    shares = f"{result.accuracy:.1%} | {low:.1%} – {high:.1%} | {result.in_steps:.0%}"
    return f"| {label} | {shares} | {result.mean_tokens:.1f} | {p} |"


def main() -> None:
    """Print a table for each language."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of pre, post and target")
    folder = parser.parse_args().folder
    triple, problems = load_triple(folder), held_out_problems(PROBLEMS)
    model = AutoModelForCausalLM.from_pretrained(folder / "target", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder / "target")

    def score_weights(weights: Tensors, language: str) -> Score:
        model.load_state_dict(weights, strict=False)
        return score(model, tokenizer, problems, language)

    for language in reversed(LANGUAGES):
        print(f"\n{language}, {len(problems)} problems\n\n{HEADER}")
        for role in ROLES:
            print(row(role, score_weights(triple[role], language), None), flush=True)
        baseline = score_weights(merge(triple, 0.0), language)
        for w in WEIGHTS:
            result = baseline if w == 0 else score_weights(merge(triple, w), language)
            print(row(f"w = {w:g}", result, baseline), flush=True)


if __name__ == "__main__":
    main()
