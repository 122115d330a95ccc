"""Load exported adapters with PEFT, for real, and compare with target + w·v; write what PEFT itself saves as a fixture.

    python3 -m venv venv && venv/bin/pip install torch transformers peft safetensors
    venv/bin/python core/tests/goldens/check_lora.py path/to/mergescope

Run with Python 3.11, peft 0.21.2, torch 2.15.0 (CPU), transformers 5.23.0, safetensors 0.8.0.

Writes peft_adapter.json beside this file: names, shapes and config that PEFT saves for the model that core/tests/lora.rs
makes, with which a test compares what Mergescope writes.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)
from transformers.utils import logging

logging.disable_progress_bar()
HERE = Path(__file__).parent
W = 0.7
VOCAB = 96
TOKENS = torch.arange(24).reshape(2, 12) * 7 % VOCAB

COMMON = dict(
    hidden_size=64, intermediate_size=112, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, vocab_size=VOCAB,
    max_position_embeddings=64,
)


def models(kind: str) -> torch.nn.Module:
    """A small model of that kind, drawn anew."""
    experts = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=48, tie_word_embeddings=False)
    if kind == "qwen2-moe":
        return Qwen2MoeForCausalLM(Qwen2MoeConfig(**COMMON, **experts, shared_expert_intermediate_size=64))
    if kind.startswith("qwen3-moe"):
        dense = [0] if kind == "qwen3-moe-dense" else []
        return Qwen3MoeForCausalLM(Qwen3MoeConfig(**COMMON, **experts, mlp_only_layers=dense, head_dim=16))
    if kind == "mixtral":
        return MixtralForCausalLM(MixtralConfig(**COMMON, num_local_experts=4, num_experts_per_tok=2))
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(n_embd=64, n_layer=3, n_head=4, vocab_size=VOCAB, n_positions=64))
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**COMMON, tie_word_embeddings=False))
    return Qwen2ForCausalLM(Qwen2Config(**COMMON, tie_word_embeddings=kind == "qwen2-tied"))


def step(model: torch.nn.Module, size: float, seed: int) -> torch.nn.Module:
    """A step of training: noise on every parameter, with a few strong directions in matrices."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim >= 2:
                left = torch.randn((*parameter.shape[:-1], 4), generator=generator)
                right = torch.randn((*parameter.shape[:-2], 4, parameter.shape[-1]), generator=generator)
                noise = 0.3 * noise + left @ right
            parameter += size * noise
    return model


def write(kind: str, folder: Path) -> None:
    """pre, post and target, in f32."""
    torch.manual_seed(0)
    pre = models(kind)
    with torch.no_grad():
        for name, parameter in pre.named_parameters():
            if name.endswith("bias"):
                parameter += 0.1 * torch.randn(parameter.shape)
    pre.save_pretrained(folder / "pre")
    load = lambda: AutoModelForCausalLM.from_pretrained(folder / "pre", dtype=torch.float32)
    step(load(), 0.004, 1).save_pretrained(folder / "post")
    step(load(), 0.01, 2).save_pretrained(folder / "target")


def load(folder: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def mergescope(program: str, command: str, folder: Path, *args: str) -> dict:
    """Runs the program on the three models and gives its JSON."""
    roles = [word for role in ("pre", "post", "target") for word in (f"--{role}", str(folder / role))]
    run = subprocess.run(
        [program, command, *roles, "-w", str(W), "--json", *args], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


def expected(folder: Path, names: set[str] | None) -> torch.nn.Module:
    """target + w·v in the parameters of these tensors of the target's file, or in all."""
    files = [load_file(folder / role / "model.safetensors") for role in ("pre", "post", "target")]
    pre, post, target = files
    merged = {
        name: (target[name].double() + W * (post[name].double() - pre[name].double())).float()
        if names is None or name in names
        else target[name]
        for name in target
    }
    out = Path(tempfile.mkdtemp(dir=folder)) / "expected"
    shutil.copytree(folder / "target", out)
    save_file(merged, out / "model.safetensors", metadata={"format": "pt"})
    return load(out)


def check(program: str, kind: str, root: Path, full: list[str], note: str, passed_over: str | None = None) -> None:
    """Exports at full rank, loads it by PEFT and compares logits and merged weights with target + w·v.

    `passed_over`: what PEFT is known to pass over, of which our report must warn.
    """
    folder = root / kind
    if not folder.exists():
        write(kind, folder)
    label = f"{kind:15} {note:26}"
    out = Path(tempfile.mkdtemp(dir=folder)) / "full"
    report = mergescope(program, "lora", folder, "--rank", "256", "--dtype", "f32", "--out", str(out), *full)
    assert bool(report["warning"]) == bool(passed_over), report["warning"]
    names = {tensor["name"] for tensor in report["tensors"] if not (passed_over and passed_over in tensor["name"])}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        adapted = PeftModel.from_pretrained(load(folder / "target"), out).eval()
    told = [str(w.message) for w in caught if "missing" in str(w.message).lower() or "unexpected" in str(w.message).lower()]
    assert not told, told
    wanted = expected(folder, names)
    truth = logits(wanted)
    scale = (truth - logits(load(folder / "target"))).abs().max().item()
    difference = (logits(adapted) - truth).abs().max().item()
    assert difference < 2e-3 * scale, (label, difference, scale)
    merged = adapted.merge_and_unload()
    weights = dict(wanted.named_parameters())
    worst = max((parameter - weights[name]).abs().max().item() for name, parameter in merged.named_parameters())
    assert worst < 5e-6, (label, worst)
    assert (logits(merged) - truth).abs().max().item() < 2e-3 * scale
    whole = f"{len(report['left_out'])} left out" if report["left_out"] else "nothing left out"
    whole += f", {passed_over} passed over as warned" if passed_over else ""
    print(f"{label} full rank: max |Δlogit| {difference:.1e} of {scale:.2f}, max |Δweight| {worst:.1e}, {whole}")


def check_energy(program: str, folder: Path, args: list[str], note: str) -> None:
    """What PEFT adds at a low rank against what the report says is kept, and against a full SVD."""
    out = Path(tempfile.mkdtemp(dir=folder)) / "low"
    report = mergescope(program, "lora", folder, "--out", str(out), *args)
    target = load(folder / "target")
    before = {name: parameter.detach().clone() for name, parameter in target.named_parameters()}
    merged = PeftModel.from_pretrained(target, out).merge_and_unload()
    after = dict(merged.named_parameters())
    pre, post = (load_file(folder / role / "model.safetensors") for role in ("pre", "post"))
    worst = worst_best = 0.0
    for tensor in report["tensors"]:
        name = tensor["name"]
        v = W * (post[name].double() - pre[name].double())
        added = after[name].double() - before[name].double()
        kept = 1 - ((v - added).square().sum() / v.square().sum()).item()
        values = torch.linalg.svdvals(v).square()
        best = (values[: tensor["rank"]].sum() / values.sum()).item()
        worst = max(worst, abs(kept - tensor["kept"]))
        worst_best = max(worst_best, best - tensor["kept"])
    assert worst < 1e-5, worst
    assert worst_best < 1e-4, worst_best
    ranks = sorted({tensor["rank"] for tensor in report["tensors"]})
    print(
        f"{folder.name:15} {note:26} ranks {ranks[0]}–{ranks[-1]} as r = {report['rank']}: kept of all "
        f"{report['total']['kept']:.4f}; kept by PEFT − reported ≤ {worst:.1e}; best by SVD − reported ≤ {worst_best:.1e}"
    )


def fixture() -> None:
    """Names, shapes and config of what PEFT saves for the model of core/tests/lora.rs, with all parts and rank 4."""
    config = Qwen2Config(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=40,
        tie_word_embeddings=False,
    )
    linear = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    norms = [f"model.layers.{n}.{name}" for n in range(2) for name in ("input_layernorm", "post_attention_layernorm")]
    saved = {}
    for name, options in {
        "default": dict(target_modules=linear),
        "all": dict(
            target_modules=[*linear, "lm_head", "embed_tokens"], modules_to_save=[*norms, "model.norm"], bias="lora_only"
        ),
    }.items():
        model = get_peft_model(Qwen2ForCausalLM(config), LoraConfig(r=4, lora_alpha=4, task_type="CAUSAL_LM", **options))
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder, save_embedding_layers=False)
            written = json.loads((Path(folder) / "adapter_config.json").read_text())
            tensors = load_file(Path(folder) / "adapter_model.safetensors")
        written["target_modules"].sort()
        saved[name] = {
            "config": written,
            "tensors": {key: list(tensor.shape) for key, tensor in sorted(tensors.items())},
        }
    (HERE / "peft_adapter.json").write_text(json.dumps(saved, indent=1, sort_keys=True) + "\n")


def main() -> None:
    program = str(Path(sys.argv[1]).resolve())
    fixture()
    everything = ["--parts", "attention,mlp,head,embed,norm,bias"]
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        check(program, "qwen2", root, [], "linear layers")
        check(program, "qwen2", root, everything, "all parts")
        check(program, "qwen2", root, ["--energy", "0.999999999", "--ranks", "per-tensor"], "rank_pattern")
        check(program, "qwen2-tied", root, ["--parts", "attention,mlp,norm,bias"], "tied embeddings")
        check(program, "llama", root, everything, "all parts")
        check(program, "gpt2", root, [], "Conv1D")
        check(program, "gpt2", root, ["--parts", "attention,mlp,norm,bias"], "Conv1D, norms, biases")
        for note, args in {
            "rank 4, f32": ["--rank", "4", "--dtype", "f32"],
            "rank 4, bf16": ["--rank", "4", "--dtype", "bf16"],
            "90 %, bf16": ["--rank", "64", "--energy", "0.9", "--dtype", "bf16"],
            "90 %, rank_pattern, f16": ["--rank", "64", "--energy", "0.9", "--dtype", "f16", "--ranks", "per-tensor"],
        }.items():
            check_energy(program, root / "qwen2", args, note)
        check(program, "mixtral", root, [], "experts one by one")
        check(program, "qwen3-moe", root, [], "experts one by one")
        # What PEFT 0.21 passes over with transformers 5; when this fails it no longer does, and the warning can go.
        check(program, "qwen2-moe", root, [], "experts and a shared one", passed_over=".mlp.experts.")
        check(program, "qwen3-moe-dense", root, [], "experts and a dense layer", passed_over="layers.0.mlp.")


if __name__ == "__main__":
    main()
