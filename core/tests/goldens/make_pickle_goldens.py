"""Writes core/tests/goldens/pickles: small checkpoints as `torch.save` writes them, and the same as safetensors.

    python -m venv v && v/bin/pip install torch numpy && v/bin/python make_pickle_goldens.py

What is there was written with torch 2.15. The safetensors files are written here by hand, so that what the tests compare
with shares nothing with the reader under test. Nothing in the folder is dangerous, and one file tries to be: loading
`refused/os_system.bin` with `weights_only=False` would run `echo`.
"""

import io
import json
import os
import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import torch

OUT = Path(__file__).parent / "pickles"
HIDDEN, LAYERS, HEADS, KV_HEADS, FFN, VOCAB = 16, 2, 2, 1, 24, 32

DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.complex64: "C64", torch.bool: "BOOL",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
    torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64",
}


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, tensor in tensors.items():
        raw = bytes(tensor.contiguous().detach().reshape(-1).view(torch.uint8).tolist())
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def config(tied):
    return {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": HIDDEN, "intermediate_size": FFN,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "num_hidden_layers": LAYERS, "vocab_size": VOCAB,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": tied, "torch_dtype": "bfloat16",
    }


def qwen2(seed, base=None):
    """The tensors of a small Qwen2; with a base, that one tuned a little."""
    generator = torch.Generator().manual_seed(seed)
    kv = HIDDEN // HEADS * KV_HEADS
    shapes = {"model.embed_tokens.weight": (VOCAB, HIDDEN)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        shapes |= {
            f"{at}.self_attn.q_proj.weight": (HIDDEN, HIDDEN), f"{at}.self_attn.q_proj.bias": (HIDDEN,),
            f"{at}.self_attn.k_proj.weight": (kv, HIDDEN), f"{at}.self_attn.k_proj.bias": (kv,),
            f"{at}.self_attn.v_proj.weight": (kv, HIDDEN), f"{at}.self_attn.v_proj.bias": (kv,),
            f"{at}.self_attn.o_proj.weight": (HIDDEN, HIDDEN),
            f"{at}.mlp.gate_proj.weight": (FFN, HIDDEN), f"{at}.mlp.up_proj.weight": (FFN, HIDDEN),
            f"{at}.mlp.down_proj.weight": (HIDDEN, FFN),
            f"{at}.input_layernorm.weight": (HIDDEN,), f"{at}.post_attention_layernorm.weight": (HIDDEN,),
        }
    shapes["model.norm.weight"] = (HIDDEN,)
    noise = {name: torch.randn(shape, generator=generator) * 0.02 for name, shape in shapes.items()}
    if base is None:
        return {name: value.bfloat16() for name, value in noise.items()}
    return {name: (base[name].float() + 0.05 * value).bfloat16() for name, value in noise.items()}


def write_config(folder, tied):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(tied), indent=2) + "\n")


def triple():
    """pre in one file, post in two with an index, target tied and as a module's state dict; each as safetensors too."""
    pre = qwen2(1)
    post, target = qwen2(2, pre), qwen2(3, pre)
    tied = torch.nn.Parameter(target["model.embed_tokens.weight"])
    target = {**target, "model.embed_tokens.weight": tied, "lm_head.weight": tied}
    for name, tensors in {"pre": pre, "post": post, "target": target}.items():
        write_config(OUT / "bin" / name, name == "target")
        write_config(OUT / "safetensors" / name, name == "target")
        write_safetensors(OUT / "safetensors" / name / "model.safetensors", tensors)
    torch.save(pre, OUT / "bin/pre/pytorch_model.bin")

    names = list(post)
    weight_map = {}
    for number, part in enumerate([names[:15], names[15:]], 1):
        shard = f"pytorch_model-{number:05}-of-00002.bin"
        torch.save({name: post[name] for name in part}, OUT / "bin/post" / shard)
        weight_map |= {name: shard for name in part}
    index = {"metadata": {"total_size": sum(t.nbytes for t in post.values())}, "weight_map": weight_map}
    (OUT / "bin/post/pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2) + "\n")

    # With `_metadata`, as module.state_dict() has it.
    module = torch.nn.Module()
    state = module.state_dict()
    state.update(target)
    torch.save(state, OUT / "bin/target/pytorch_model.bin")


def dtypes():
    values = torch.tensor([[0.0, 1.0, -2.0], [0.5, -0.25, 3.0]])
    tensors = {DTYPES[dtype].lower(): values.abs().to(dtype) for dtype in DTYPES}
    base = torch.arange(12, dtype=torch.float32).reshape(4, 3)
    tensors |= {
        "scalar": torch.tensor(3.5), "empty": torch.zeros(0, 3, dtype=torch.float16), "base": base,
        "rows": base[1:3], "a_row_as_matrix": base[2:3], "tail": base.reshape(-1)[7:].to(torch.float32),
        "parameter": torch.nn.Parameter(values.half()),
    }
    write_safetensors(OUT / "dtypes.safetensors", tensors)
    torch.save(tensors, OUT / "dtypes.bin")
    torch.save({"epoch": 3, "loss": 0.5, "state_dict": tensors, "path": ["a", None, True]}, OUT / "nested.bin")


class Call:
    """Pickles as a call of anything."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def rewritten(source, target, change=lambda name, data: data, compression=zipfile.ZIP_STORED):
    """The archive with its entries changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry.filename, old.read(entry)))


def refused():
    folder = OUT / "refused"
    folder.mkdir(parents=True, exist_ok=True)
    values = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    save = lambda name, value, **how: torch.save(value, folder / f"{name}.bin", **how)
    plain = folder / "plain.bin"
    torch.save({"a.weight": values}, plain)

    save("not_contiguous", {"a.weight": values, "b.weight": values.t()})
    save("expanded", {"a.weight": torch.zeros(1, 3).expand(4, 3)})
    save("legacy", {"a.weight": values}, _use_new_zipfile_serialization=False)
    save("os_system", {"a.weight": values, "b.weight": Call(os.system, "echo this must never run")})
    save("builtins_eval", Call(eval, "1 + 1"))
    save("protocol_4", {"a.weight": values}, pickle_protocol=4)
    save("numpy", {"a.weight": values.numpy()})
    save("whole_module", torch.nn.Linear(2, 3))
    save("training_state", {"model": {"a.weight": values}, "epoch": 3})
    save("a_list", [values])
    save("conjugated", {"a.weight": values.to(torch.complex64).conj()})
    save("sparse", {"a.weight": values.to_sparse()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save("quantised", {"a.weight": torch.quantize_per_tensor(values, 0.1, 0, torch.qint8)})
    rewritten(plain, folder / "compressed.bin", compression=zipfile.ZIP_DEFLATED)
    big_endian = lambda name, data: b"big" if name.endswith("/byteorder") else data
    rewritten(plain, folder / "big_endian.bin", big_endian)
    short = lambda name, data: data[:-4] if name.endswith("/data/0") else data
    rewritten(plain, folder / "short_storage.bin", short)
    # A pickle with nothing around it, as old scripts write it.
    (folder / "bare_pickle.bin").write_bytes(pickle.dumps({"a.weight": [1.0]}, protocol=2))
    plain.unlink()


if __name__ == "__main__":
    torch.manual_seed(0)
    triple()
    dtypes()
    refused()
