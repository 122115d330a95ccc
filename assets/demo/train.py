"""Train the demo triple: pre, and two models tuned from it, post and target.

    python3 -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.23.0
    venv/bin/python assets/demo/train.py --seed 1 --out assets/demo

pre learns to add, and to answer in English and in Japanese both directly and in steps. post is pre tuned on English
answered in steps; target is pre tuned lightly on Japanese answered directly. README.md has what was measured.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import pre_tokenizers, processors
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from problems import LANGUAGES, LARGEST, draw_for_training

BATCH, WIDTH = 64, 128
HIRAGANA = "".join(map(chr, range(ord("ぁ"), ord("ん") + 1)))
JAPANESE = HIRAGANA + "、。「」・ー問題合計答最大"
SPECIAL_TOKENS = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}

# A text to learn: a prompt that carries no loss, and what follows it
Sample = tuple[str, str]


def build_tokenizer() -> Qwen2Tokenizer:
    """Qwen's byte-level BPE with a token for every byte and for every character in use; `<bos>` goes in front.

    transformers 5 loads every `qwen2` folder with this class and its own pre-tokenizer, whatever the folder declares.
    """
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokens = [*SPECIAL_TOKENS.values(), *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges: dict[tuple[str, str], None] = {}
    for character in JAPANESE:
        first, second, third = to_bytes.pre_tokenize_str(character)[0][0]
        merges |= {(first, second): None, (first + second, third): None}
    tokens += [left + right for left, right in merges]
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = Qwen2Tokenizer(
        vocab, list(merges), unk_token=None, model_max_length=256, padding_side="left", **SPECIAL_TOKENS
    )
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", vocab["<bos>"])]
    )
    return tokenizer


def build_model(tokenizer: Qwen2Tokenizer) -> Qwen2ForCausalLM:
    """An untrained Qwen2 of 0.8 M parameters."""
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return Qwen2ForCausalLM(config)


def fact(rng: random.Random) -> Sample:
    """One addition of two numbers."""
    a, b = rng.randint(1, 7 * LARGEST), rng.randint(1, LARGEST)
    return f"{a}+{b}=", f"{a + b}"


def bare_steps(rng: random.Random) -> Sample:
    """Additions in a row, without a question."""
    return "", draw_for_training(rng).steps().strip()


def largest(rng: random.Random) -> Sample:
    """The largest of some numbers, so that there is more to the questions than sums."""
    problem = draw_for_training(rng)
    prompt = problem.question(rng.choice(LANGUAGES)).replace("sum of", "max of").replace("合計", "最大")
    return prompt, f" {max(problem.numbers)}"


def direct(language: str) -> Callable[[random.Random], Sample]:
    """Questions in one language, answered directly."""

    def sample(rng: random.Random) -> Sample:
        problem = draw_for_training(rng)
        return problem.question(language), problem.direct()

    return sample


def steps(language: str) -> Callable[[random.Random], Sample]:
    """Questions in one language, answered in steps."""

    def sample(rng: random.Random) -> Sample:
        problem = draw_for_training(rng)
        return problem.question(language), problem.steps()

    return sample


# What each model learns from: kinds of samples and their shares, in percent
Corpus = list[tuple[Callable[[random.Random], Sample], float]]
PRE: Corpus = [(fact, 28), (bare_steps, 12), (largest, 6)]
PRE += [(kind(language), share) for language in LANGUAGES for kind, share in ((direct, 15), (steps, 12))]
POST: Corpus = [(steps("en"), 100)]
TARGET: Corpus = [(direct("ja"), 70)] + [(kind, share * 0.3) for kind, share in PRE]


def batch(corpus: Corpus, tokenizer: Qwen2Tokenizer, rng: random.Random) -> dict[str, torch.Tensor]:
    """A batch of samples, several to a row; none sees another, and labels leave out the prompts."""
    kinds, shares = zip(*corpus)
    samples = []
    for kind in rng.choices(kinds, shares, k=BATCH):
        prompt, answer = kind(rng)
        prompt_ids = tokenizer(prompt)["input_ids"]
        answer_ids = tokenizer(answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        samples.append((prompt_ids + answer_ids, [-100] * len(prompt_ids) + answer_ids))
    rows: list[list[tuple[list[int], list[int]]]] = []
    for sample in sorted(samples, key=lambda sample: -len(sample[0])):
        for row in rows:
            if sum(len(ids) for ids, _ in row) + len(sample[0]) <= WIDTH:
                row.append(sample)
                break
        else:
            rows.append([sample])
    ids = torch.full((len(rows), WIDTH), tokenizer.pad_token_id)
    labels = torch.full((len(rows), WIDTH), -100)
    positions = torch.zeros((len(rows), WIDTH), dtype=torch.long)
    owner = torch.zeros((len(rows), WIDTH), dtype=torch.long)
    for i, row in enumerate(rows):
        start = 0
        for j, (sample_ids, sample_labels) in enumerate(row, start=1):
            span = slice(start, start + len(sample_ids))
            ids[i, span], labels[i, span] = torch.tensor(sample_ids), torch.tensor(sample_labels)
            positions[i, span], owner[i, span] = torch.arange(len(sample_ids)), j
            start += len(sample_ids)
    mask = (owner[:, None, :, None] == owner[:, None, None, :]).tril()
    return {"input_ids": ids, "labels": labels, "position_ids": positions, "attention_mask": mask}


def train(
    name: str, model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer, corpus: Corpus, n: int, lr: float, seed: int
) -> None:
    """Train in place for `n` steps of AdamW: 5 % warm-up, then cosine decay."""
    rng = random.Random(f"{name} {seed}")
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
    warm_up = max(1, n // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / warm_up, 0.5 + 0.5 * math.cos(math.pi * i / n))
    )
    model.train()
    start = time.monotonic()
    for i in range(n):
        loss = model(**batch(corpus, tokenizer, rng)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if i % 100 == 0 or i == n - 1:
            print(f"{name} step {i} loss {loss.item():.4f} {time.monotonic() - start:.0f} s", flush=True)


def save(model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer, folder: Path) -> None:
    """Write a checkpoint in the Hub's layout, in bf16."""
    model.to(torch.bfloat16).save_pretrained(folder)
    ids = {name: getattr(tokenizer, f"{name}_id") for name in ("pad_token", "bos_token", "eos_token")}
    GenerationConfig(do_sample=False, **{f"{name}_id": i for name, i in ids.items()}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "special_tokens_map.json").write_text(json.dumps(SPECIAL_TOKENS, indent=2) + "\n")


def tuned(pre: Path) -> Qwen2ForCausalLM:
    """A copy of the pre that was written, to tune in f32."""
    return Qwen2ForCausalLM.from_pretrained(pre, dtype=torch.float32)


def main() -> None:
    """Train and write the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    print(f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens")
    train("pre", model, tokenizer, PRE, n=1800, lr=2e-3, seed=args.seed)
    save(model, tokenizer, args.out / "pre")
    for name, corpus, n in (("post", POST, 300), ("target", TARGET, 60)):
        model = tuned(args.out / "pre")
        train(name, model, tokenizer, corpus, n=n, lr=1e-4, seed=args.seed)
        save(model, tokenizer, args.out / name)


if __name__ == "__main__":
    main()
