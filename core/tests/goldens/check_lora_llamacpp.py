"""Convert exported adapters with llama.cpp's convert_lora_to_gguf.py, load them in llama.cpp and compare with target + w·v.

    python3 -m venv venv && venv/bin/pip install torch transformers peft safetensors sentencepiece llama-cpp-python
    venv/bin/python core/tests/goldens/check_lora_llamacpp.py path/to/mergescope path/to/llama.cpp [TRIPLE…]

path/to/llama.cpp is its source tree, for the converter; the sdist of llama-cpp-python has it as vendor/llama.cpp.
TRIPLE: folders with pre, post and target of one file each, such as assets/demo, checked besides small random ones.

Run with Python 3.11, llama-cpp-python 0.3.36 (llama.cpp 0c1e57098, CPU) and its converter, torch 2.15.0, transformers 5.23.0.
"""

import contextlib
import ctypes
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import llama_cpp as lib
import torch
from check_lora import COMMON, TOKENS, W, expected, load, logits, mergescope, models, step
from safetensors.torch import load_file
from transformers import MistralConfig, MistralForCausalLM, Qwen3Config, Qwen3ForCausalLM

LLAMA_CPP = Path(sys.argv[2]).resolve()
sys.path[:0] = [str(LLAMA_CPP / "gguf-py"), str(LLAMA_CPP)]

import gguf
from conversion import ModelType, get_model_architecture, get_model_class
from conversion.base import ModelBase

ALL = ["--parts", "attention,mlp,head,embed"]
errors: list[str] = []


@lib.llama_log_callback
def log(level: int, text: bytes, _: object) -> None:
    if level == 4:  # GGML_LOG_LEVEL_ERROR
        errors.append(text.decode().strip())


def write(kind: str, folder: Path) -> None:
    """pre, post and target, in f32."""
    torch.manual_seed(0)
    if kind == "qwen3":
        pre = Qwen3ForCausalLM(Qwen3Config(**COMMON, head_dim=16, tie_word_embeddings=True))
    elif kind == "mistral":
        pre = MistralForCausalLM(MistralConfig(**COMMON, head_dim=16, tie_word_embeddings=False))
    else:
        pre = models(kind)
    if kind == "qwen3-moe":
        pre.config.norm_topk_prob = True  # As in all that are published; llama.cpp knows nothing else.
    with torch.no_grad():
        for name, parameter in pre.named_parameters():
            if name.endswith("bias"):
                parameter += 0.1 * torch.randn(parameter.shape)
    pre.save_pretrained(folder / "pre")
    step(load(folder / "pre"), 0.004, 1).save_pretrained(folder / "post")
    step(load(folder / "pre"), 0.01, 2).save_pretrained(folder / "target")


def convert_base(folder: Path, out: Path) -> None:
    """The model as GGUF in f32, without its vocabulary, which a random model has none of."""
    params = ModelBase.load_hparams(folder, False)
    params.setdefault("n_ctx", 64)  # Of GPT-2, where transformers 5 leaves it out.
    architecture = get_model_class(get_model_architecture(params, ModelType.TEXT))

    class WithoutVocabulary(architecture):
        model_arch = architecture.model_arch

        def set_vocab(self) -> None:
            self._set_vocab_none()
            self.gguf_writer.add_vocab_size(self.hparams["vocab_size"])

    with torch.inference_mode(), contextlib.redirect_stderr(io.StringIO()):
        WithoutVocabulary(folder, gguf.LlamaFileType.ALL_F32, out, hparams=params).write()


def convert_adapter(adapter: Path, base: Path, out: Path) -> None:
    script = str(LLAMA_CPP / "convert_lora_to_gguf.py")
    args = [sys.executable, script, "--base", str(base), "--outfile", str(out), str(adapter)]
    run = subprocess.run(args, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(run.stderr.strip().splitlines()[-1])


def run(model: Path, adapter: Path | None = None) -> torch.Tensor:
    """Logits that llama.cpp computes, in f32 throughout."""
    params = lib.llama_model_default_params()
    params.n_gpu_layers, params.use_extra_bufts = 0, False
    loaded = lib.llama_model_load_from_file(str(model).encode(), params)
    assert loaded, errors
    options = lib.llama_context_default_params()
    options.n_ctx = options.n_batch = options.n_ubatch = 64
    options.n_threads = options.n_threads_batch = 1
    options.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
    options.type_k = options.type_v = lib.GGML_TYPE_F32
    context = lib.llama_init_from_model(loaded, options)
    try:
        if adapter:
            lora = lib.llama_adapter_lora_init(loaded, str(adapter).encode())
            if not lora:
                raise RuntimeError(errors[-1])
            one = (lib.llama_adapter_lora_p_ctypes * 1)(lora), 1, (ctypes.c_float * 1)(1.0)
            assert lib.llama_set_adapters_lora(context, *one) == 0
        size = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(loaded))
        return torch.stack([evaluate(context, row.tolist(), size) for row in TOKENS])
    finally:
        lib.llama_free(context)
        lib.llama_model_free(loaded)


def evaluate(context: object, tokens: list[int], size: int) -> torch.Tensor:
    lib.llama_memory_clear(lib.llama_get_memory(context), True)
    batch = lib.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for position, token in enumerate(tokens):
        batch.token[position], batch.pos[position], batch.n_seq_id[position] = token, position, 1
        batch.seq_id[position][0], batch.logits[position] = 0, 1
    assert lib.llama_decode(context, batch) == 0
    rows = [lib.llama_get_logits_ith(context, position)[:size] for position in range(len(tokens))]
    lib.llama_batch_free(batch)
    return torch.tensor(rows)


def check(
    program: str, folder: Path, args: list[str], note: str, refused: str | None = None, ignored: str | None = None
) -> None:
    """Exports at full rank, converts, loads and compares logits with target + w·v.

    `refused`: what llama.cpp is known to say. `ignored`: what it is known to pass over.
    """
    if not (folder / "pre").exists():
        write(folder.name, folder)
    label = f"{folder.name:15} {note:26}"
    base = folder / "target.gguf"
    if not base.exists():
        convert_base(folder / "target", base)
    out = Path(tempfile.mkdtemp(dir=folder))
    report = mergescope(program, "lora", folder, "--rank", "4096", "--dtype", "f32", "--out", str(out / "peft"), *args)
    names = {tensor["name"] for tensor in report["tensors"] if not (ignored and ignored in tensor["name"])}
    try:
        convert_adapter(out / "peft", folder / "target", out / "adapter.gguf")
        adapted = run(base, out / "adapter.gguf")
    except RuntimeError as error:
        assert refused and refused in str(error), (label, error)
        print(f"{label} refused as known: {error}")
        return
    assert not refused, label
    truth, before = logits(expected(folder, names)), logits(load(folder / "target"))
    scale = (truth - before).abs().max().item()
    floor = (run(base) - before).abs().max().item()
    difference = (adapted - truth).abs().max().item()
    assert difference < 2e-3 * scale + 3 * floor, (label, difference, scale, floor)
    passed = f", {ignored} passed over as known" if ignored else ""
    print(f"{label} full rank: max |Δlogit| {difference:.1e} of {scale:.2f} (without adapter {floor:.1e}){passed}")


def main() -> None:
    program = str(Path(sys.argv[1]).resolve())
    lib.llama_log_set(log, ctypes.c_void_p(0))
    lib.llama_backend_init()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for triple in map(Path, sys.argv[3:]):
            folder = root / triple.resolve().name
            for role in ("pre", "post", "target"):
                shutil.copytree(triple / role, folder / role)
            check(program, folder, [], "linear layers")
        for kind in ("qwen2", "llama", "mistral", "mixtral", "qwen2-moe", "qwen3-moe"):
            check(program, root / kind, [], "linear layers, experts")
            check(program, root / kind, ["--parts", "attention,mlp,head,embed,other"], "embeddings, head, routers")
        for kind in ("qwen2-tied", "qwen3"):
            check(program, root / kind, [], "tied embeddings")
        check(program, root / "qwen3-moe", ["--energy", "0.999999999"], "experts of various ranks")
        for kind in ("qwen2", "llama", "mixtral", "qwen2-moe"):
            check(program, root / kind, ["--parts", "attention,mlp,norm"], "norms", ignored="norm")
        for kind in ("qwen3", "qwen3-moe"):
            check(program, root / kind, ["--parts", "attention,mlp,norm"], "norms of q and k", refused="k_norm.weight")
        check(program, root / "qwen2", ["--parts", "attention,mlp,bias"], "biases", refused="base_layer.bias")
        check(program, root / "gpt2", [], "Conv1D", refused="has incorrect shape")


if __name__ == "__main__":
    main()
