"""Writes core/tests/goldens/gguf: small models in GGUF, and as the safetensors that they should be read as.

    python -m venv v && v/bin/pip install torch numpy gguf && v/bin/python make_gguf_goldens.py

What is there was written with gguf 0.19, llama.cpp's own package. Names come from its tensor map, and what is done to the
values is what llama.cpp's convert_hf_to_gguf.py does: vectors become f32, and the rows of Llama's queries and keys are
permuted.
"""

import json
import struct
from pathlib import Path

import gguf
import numpy as np
import torch

OUT = Path(__file__).parent / "gguf"
HIDDEN, LAYERS, HEADS, KV_HEADS, FFN, VOCAB = 16, 2, 4, 2, 24, 32
DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
KINDS = {
    torch.float32: gguf.GGMLQuantizationType.F32,
    torch.float16: gguf.GGMLQuantizationType.F16,
    torch.bfloat16: gguf.GGMLQuantizationType.BF16,
}


def raw(tensor):
    return tensor.contiguous().view(-1).view(torch.uint8).numpy()


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, tensor in tensors.items():
        offsets = [len(data), len(data) + tensor.nbytes]
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        data += raw(tensor).tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def model(architecture, dtype, tied):
    """The tensors as a converter finds them: matrices in `dtype`."""
    generator = torch.Generator().manual_seed(7)
    kv = HIDDEN // HEADS * KV_HEADS
    shapes = {"model.embed_tokens.weight": (VOCAB, HIDDEN)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        for part, rows in {"q": HIDDEN, "k": kv, "v": kv}.items():
            shapes[f"{at}.self_attn.{part}_proj.weight"] = (rows, HIDDEN)
            if architecture != "qwen3":
                shapes[f"{at}.self_attn.{part}_proj.bias"] = (rows,)
        if architecture == "qwen3":
            shapes[f"{at}.self_attn.q_norm.weight"] = shapes[f"{at}.self_attn.k_norm.weight"] = (HIDDEN // HEADS,)
        shapes |= {
            f"{at}.self_attn.o_proj.weight": (HIDDEN, HIDDEN),
            f"{at}.mlp.gate_proj.weight": (FFN, HIDDEN), f"{at}.mlp.up_proj.weight": (FFN, HIDDEN),
            f"{at}.mlp.down_proj.weight": (HIDDEN, FFN),
            f"{at}.input_layernorm.weight": (HIDDEN,), f"{at}.post_attention_layernorm.weight": (HIDDEN,),
        }
    shapes["model.norm.weight"] = (HIDDEN,)
    if not tied:
        shapes["lm_head.weight"] = (VOCAB, HIDDEN)
    # Vectors as they come out of the converter, in f32; they were of the same dtype.
    value = lambda shape: (torch.randn(shape, generator=generator) * 0.02).to(dtype)
    return {name: value(shape) if len(shape) > 1 else value(shape).float() for name, shape in shapes.items()}


def permute(weights, heads):
    """LlamaModel.permute of convert_hf_to_gguf.py."""
    shape = weights.shape
    return weights.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def write(name, architecture, tensors, change=lambda writer: None, arch=None):
    writer = gguf.GGUFWriter(OUT / f"{name}.gguf", arch or architecture)
    writer.add_name("a small model")
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    # What a real file is full of: a vocabulary, scores and lists, all of which are passed over.
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"token {number}" for number in range(VOCAB)])
    writer.add_token_scores([0.5] * VOCAB)
    writer.add_token_types([1] * VOCAB)
    writer.add_bool("tokenizer.ggml.add_bos_token", False)
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, architecture.upper()), LAYERS)
    for hf_name, tensor in tensors.items():
        if architecture == "llama" and ".q_proj." in hf_name:
            tensor = permute(tensor, HEADS)
        if architecture == "llama" and ".k_proj." in hf_name:
            tensor = permute(tensor, KV_HEADS)
        stem, end = hf_name.rsplit(".", 1)
        numbers = tensor.contiguous()
        if tensor.dtype == torch.bfloat16:
            rows = raw(numbers).reshape(*tensor.shape[:-1], tensor.shape[-1] * 2)
            writer.add_tensor(f"{names.get_name(stem)}.{end}", rows, raw_dtype=KINDS[tensor.dtype])
        else:
            writer.add_tensor(f"{names.get_name(stem)}.{end}", numbers.numpy())
    if architecture == "llama":
        writer.add_tensor("rope_freqs.weight", np.ones(HIDDEN // HEADS // 2, dtype=np.float32))
    change(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantised(writer):
    codes = gguf.quants.quantize(np.ones((4, 32), dtype=np.float32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("output.weight", codes, raw_dtype=gguf.GGMLQuantizationType.Q8_0)


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    for name, architecture, dtype, tied in [
        ("llama-f16", "llama", torch.float16, False),
        ("qwen2-bf16", "qwen2", torch.bfloat16, True),
        ("qwen3-f32", "qwen3", torch.float32, True),
    ]:
        tensors = model(architecture, dtype, tied)
        write_safetensors(OUT / f"{name}.safetensors", tensors)
        write(name, architecture, tensors)
    few = {name: tensor for name, tensor in model("qwen2", torch.bfloat16, True).items() if "norm" in name}
    write("refused-quantised", "qwen2", few, quantised)
    write("refused-split", "qwen2", few, lambda writer: writer.add_uint16("split.count", 3))
    write("refused-gemma2", "qwen2", few, arch="gemma2")
    experts = lambda writer: writer.add_tensor("blk.0.ffn_gate_exps.weight", np.ones((2, 4, 8), dtype=np.float32))
    write("refused-experts", "llama", few, experts)
