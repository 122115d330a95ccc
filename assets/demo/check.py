"""Check a model that Mergescope merged from the demo triple: open it with transformers, compare every bit, let it answer.

    venv/bin/python assets/demo/check.py MERGED_DIR W
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from problems import held_out_problems
from sweep import HEADER, PROBLEMS, Tensors, load_triple, row, score


def rounded(exact: torch.Tensor) -> torch.Tensor:
    """f64 rounded to bf16 at once; torch goes by way of f32, which can land on a tie that the exact value is not."""
    near = exact.float()
    at_tie = (near.view(torch.int32) & 0xFFFF) == 0x8000
    nudged = torch.nextafter(near, torch.sign(exact - near.double()).float() * torch.inf)
    return torch.where(at_tie & (near.double() != exact), nudged, near).bfloat16()


def merge_exactly(triple: dict[str, Tensors], w: float) -> Tensors:
    """target + f32(w)·(post − pre) in f64, rounded once to bf16."""
    pre, post, target = ({name: t.double() for name, t in triple[role].items()} for role in ("pre", "post", "target"))
    factor = torch.tensor(w, dtype=torch.float32).double()
    return {name: rounded(target[name] + factor * (post[name] - pre[name])) for name in target}


def differing(a: Tensors, b: Tensors) -> int:
    """How many elements differ in any bit."""
    assert a.keys() == b.keys(), f"tensor names differ: {sorted(a.keys() ^ b.keys())}"
    return sum(int((a[name].view(torch.int16) != b[name].view(torch.int16)).sum()) for name in a)


def main() -> None:
    """Check and print; any fault is an assertion error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("merged", type=Path)
    parser.add_argument("w", type=float)
    parser.add_argument("--triple", type=Path, default=Path(__file__).parent, help="folder of pre, post and target")
    args = parser.parse_args()

    model, info = AutoModelForCausalLM.from_pretrained(args.merged, dtype="auto", output_loading_info=True)
    assert not any(info.values()), f"transformers reports {info}"
    assert model.dtype == torch.bfloat16, f"stored as {model.dtype}"
    tokenizer = AutoTokenizer.from_pretrained(args.merged)
    print("opens in transformers, no missing or unexpected tensors")

    triple = load_triple(args.triple)
    merged = {name: tensor for name, tensor in model.state_dict().items() if name in triple["target"]}
    count = differing(merged, merge_exactly(triple, args.w))
    assert count == 0, f"{count} elements differ from the formula in f64, rounded once to bf16"
    print("every element is that of the formula in f64, rounded once to bf16")

    problems = held_out_problems(PROBLEMS)
    target = AutoModelForCausalLM.from_pretrained(args.triple / "target", dtype=torch.float32)
    baseline = score(target, tokenizer, problems, "ja")
    print(f"\nJapanese, {len(problems)} held-out problems\n\n{HEADER}")
    print(row("w = 0", baseline, None))
    print(row(f"w = {args.w:g}", score(model.float(), tokenizer, problems, "ja"), baseline))


if __name__ == "__main__":
    main()
