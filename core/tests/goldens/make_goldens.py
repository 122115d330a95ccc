"""Make the golden merges: tiny deterministic checkpoints, merged by mergekit 0.1.5.

    python3 -m venv venv && venv/bin/pip install mergekit==0.1.5
    venv/bin/python core/tests/goldens/make_goldens.py

Made with Python 3.11.7, mergekit 0.1.5, torch 2.15.0 (CPU), transformers 5.23.0, safetensors 0.8.0, numpy 2.4.6.

Writes inputs/, expected/ and cases.json beside this file. Every expected tensor is also computed here from a formula of
our own, step by step in numpy, and must agree bit for bit.
"""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from mergekit.config import MergeConfiguration
from mergekit.merge import MergeOptions, run_merge
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
ROLES = ("pre", "post", "target")
DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
LONG_NAMES = {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}
WEIGHTS = (0.3, 1.0, -0.5, 0.0, 1.7)

# dtypes of (pre, post, target), tied embeddings, role that is written in two shards
VARIANTS = {
    "bf16": (("bf16", "bf16", "bf16"), True, "target"),
    "f32": (("f32", "f32", "f32"), False, None),
    "f16": (("f16", "f16", "f16"), True, None),
    "mixed": (("bf16", "f32", "f16"), False, None),
}

HIDDEN, LAYERS, HEADS, KV_HEADS, FFN, VOCAB = 16, 2, 4, 2, 32, 64

# Every (pre, post, target) combination of these fills embed_tokens: signed zeros, denormals of f32 and of f16, ties of the
# roundings to f32, f16 and bf16, and ratios of up to 1e44.
SPECIALS = (0.0, -0.0, 1e-40, -3e-39, 3 * 2.0**-24, 2.0**-11, 1.0, -1.0078125, 256.0, 8192.0)


def shapes(tied: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a Qwen2 checkpoint."""
    kv = HIDDEN // HEADS * KV_HEADS
    result: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCAB, HIDDEN), "model.norm.weight": (HIDDEN,)}
    if not tied:
        result["lm_head.weight"] = (VOCAB, HIDDEN)
    for n in range(LAYERS):
        layer = f"model.layers.{n}."
        for part, rows in (("q", HIDDEN), ("k", kv), ("v", kv)):
            result[f"{layer}self_attn.{part}_proj.weight"] = (rows, HIDDEN)
            result[f"{layer}self_attn.{part}_proj.bias"] = (rows,)
        result[f"{layer}self_attn.o_proj.weight"] = (HIDDEN, HIDDEN)
        result[f"{layer}mlp.gate_proj.weight"] = (FFN, HIDDEN)
        result[f"{layer}mlp.up_proj.weight"] = (FFN, HIDDEN)
        result[f"{layer}mlp.down_proj.weight"] = (HIDDEN, FFN)
        result[f"{layer}input_layernorm.weight"] = (HIDDEN,)
        result[f"{layer}post_attention_layernorm.weight"] = (HIDDEN,)
    return result


def triple(tied: bool) -> dict[str, dict[str, np.ndarray]]:
    """Values of pre, post and target in f64: post and target are pre plus deltas of many sizes, half of post's are zero."""
    rng = np.random.default_rng(20240917)
    models: dict[str, dict[str, np.ndarray]] = {role: {} for role in ROLES}
    for name, shape in shapes(tied).items():
        pre = rng.normal(1.0 if "norm" in name else 0.0, 0.02, shape)
        for role, zero_share in (("pre", 1.0), ("post", rng.uniform(0.3, 0.7)), ("target", 0.1)):
            delta = rng.choice([-1.0, 1.0], shape) * 10 ** rng.uniform(-7, -2, shape)
            models[role][name] = pre + np.where(rng.random(shape) < zero_share, 0.0, delta)
    grid = np.array(np.meshgrid(SPECIALS, SPECIALS, SPECIALS, indexing="ij")).reshape(3, -1)
    for role, column in zip(ROLES, grid):
        models[role]["model.embed_tokens.weight"].reshape(-1)[: column.size] = column
    return models


def write_model(folder: Path, values: dict[str, np.ndarray], dtype: str, tied: bool, sharded: bool) -> None:
    """Write one checkpoint in the Hub's layout."""
    folder.mkdir(parents=True)
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "intermediate_size": FFN,
        "vocab_size": VOCAB,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": tied,
        "torch_dtype": LONG_NAMES[dtype],
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tensors = {name: torch.from_numpy(value).to(DTYPES[dtype]) for name, value in values.items()}
    if not sharded:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return
    names = sorted(tensors)
    weight_map = {}
    for i, half in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), start=1):
        file = f"model-{i:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in half}, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(half, file)
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def load(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint folder."""
    return {name: t for file in sorted(folder.glob("*.safetensors")) for name, t in load_file(file).items()}


def rounded(x: np.ndarray, dtype: str) -> np.ndarray:
    """f32 values rounded to nearest even into a dtype, given back as f32."""
    if dtype == "f32":
        return x
    if dtype == "f16":
        return x.astype(np.float16).astype(np.float32)
    bits = x.view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def formula(pre: np.ndarray, post: np.ndarray, target: np.ndarray, w: float, dtype: str, out_dtype: str) -> np.ndarray:
    """Task arithmetic as mergekit computes it: every step in f32, each result rounded to the working dtype."""
    base, post, target = (rounded(x, dtype) for x in (pre, post, target))
    total = np.zeros_like(base)
    for x, weight in ((target, 1.0), (post, w)):
        difference = rounded(x - base, dtype)
        total = total + rounded(difference * rounded(np.full(1, weight, np.float32), dtype), dtype)
    return rounded(rounded(base + rounded(total, dtype), dtype), out_dtype)


def run_mergekit(inputs: Path, w: float, dtype: str, out_dtype: str, expected: Path) -> None:
    """Run mergekit's task_arithmetic and keep the weights that it writes."""
    config = {
        "merge_method": "task_arithmetic",
        "base_model": str(inputs / "pre"),
        "models": [
            {"model": str(inputs / "target"), "parameters": {"weight": 1.0}},
            {"model": str(inputs / "post"), "parameters": {"weight": w}},
        ],
        "parameters": {"normalize": False},
        "dtype": LONG_NAMES[dtype],
        "out_dtype": LONG_NAMES[out_dtype],
    }
    with tempfile.TemporaryDirectory() as out:
        options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True)
        run_merge(MergeConfiguration.model_validate(config), out, options)
        shutil.copy(Path(out) / "model.safetensors", expected)


def check(inputs: Path, w: float, dtype: str, out_dtype: str, expected: Path) -> None:
    """Assert that our formula gives mergekit's output bit for bit."""
    pre, post, target = ({n: t.float().numpy() for n, t in load(inputs / role).items()} for role in ROLES)
    merged = load_file(expected)
    assert merged.keys() == target.keys(), merged.keys() ^ target.keys()
    for name, tensor in merged.items():
        assert tensor.dtype == DTYPES[out_dtype], (name, tensor.dtype)
        ours = formula(pre[name], post[name], target[name], w, dtype, out_dtype).view(np.uint32)
        theirs = tensor.float().numpy().view(np.uint32)
        assert (ours == theirs).all(), (expected.name, name, int((ours != theirs).sum()))


def runs(target_dtype: str) -> list[tuple[str, float, str]]:
    """(working dtype, w, out dtype) of the merges of one variant: the plain ones, then the other output dtypes."""
    plain = [("f32", w, target_dtype) for w in WEIGHTS] + [("bf16", w, "bf16") for w in WEIGHTS]
    extra = [("f32", 0.3, "f32"), ("bf16", 0.3, "f32"), ("bf16", 0.3, target_dtype)]
    return plain + [run for run in dict.fromkeys(extra) if run not in plain]


def main() -> None:
    """Write everything anew."""
    for folder in ("inputs", "expected"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
    (HERE / "expected").mkdir()
    cases = []
    for variant, (dtypes, tied, sharded) in VARIANTS.items():
        inputs = HERE / "inputs" / variant
        for (role, values), dtype in zip(triple(tied).items(), dtypes):
            write_model(inputs / role, values, dtype, tied, role == sharded)
        for dtype, w, out_dtype in runs(dtypes[2]):
            suffix = "" if out_dtype == dtypes[2] else f"-out-{out_dtype}"
            mode = f"mergekit-{dtype}{suffix}"
            expected = HERE / "expected" / f"{variant}-{mode}-w{w}.safetensors"
            run_mergekit(inputs, w, dtype, out_dtype, expected)
            check(inputs, w, dtype, out_dtype, expected)
            path = f"expected/{expected.name}"
            cases.append({"variant": variant, "mode": mode, "w": w, "out_dtype": LONG_NAMES[out_dtype], "expected": path})
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    (HERE / "cases.json").write_text(f"[\n{lines}\n]\n")
    print(f"{len(cases)} merges, all equal to the formula bit for bit")


if __name__ == "__main__":
    main()
