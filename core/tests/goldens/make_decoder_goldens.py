"""Logits of tiny random decoders by Python transformers, which those of the embedded engine are compared with.

    python3 -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.23.0
    venv/bin/python core/tests/goldens/make_decoder_goldens.py

Writes a folder for each case into core/tests/goldens/decoders: config.json and model.safetensors (bf16), and in
logits.safetensors the token ids of two texts and the logits behind each of their tokens, computed in f32.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

FOLDER = Path(__file__).parent / "decoders"
LENGTHS = (24, 11)
COMMON = dict(
    vocab_size=61,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, rope_theta=10000.0)
LLAMA3 = dict(
    rope_type="llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=16,
    rope_theta=500000.0,
)
LONG = dict(
    rope_type="longrope",
    short_factor=[1.0, 1.1, 1.3],
    long_factor=[1.5, 2.5, 4.0],
    original_max_position_embeddings=16,
    partial_rotary_factor=0.75,
    rope_theta=10000.0,
)

# Keys as they stand in config.json: of transformers 5, and in two cases of transformers 4.
CASES = {
    "qwen2": dict(model_type="qwen2", tie_word_embeddings=True),
    "qwen2-untied": dict(model_type="qwen2", tie_word_embeddings=False, rope_theta=1000000.0),
    "qwen2-window": dict(
        model_type="qwen2", tie_word_embeddings=True, use_sliding_window=True, sliding_window=8, max_window_layers=1
    ),
    "qwen2-yarn": dict(model_type="qwen2", tie_word_embeddings=False, rope_parameters=YARN),
    "qwen2-yarn-v4": dict(
        model_type="qwen2",
        tie_word_embeddings=True,
        rope_theta=1000000.0,
        rope_scaling=dict(type="yarn", factor=2.0, original_max_position_embeddings=64),
    ),
    "qwen3": dict(model_type="qwen3", tie_word_embeddings=True, head_dim=16),
    "qwen3-bias": dict(model_type="qwen3", tie_word_embeddings=False, head_dim=16, attention_bias=True),
    "llama": dict(model_type="llama", tie_word_embeddings=False, num_key_value_heads=4),
    "llama-llama3": dict(model_type="llama", tie_word_embeddings=True, rope_parameters=LLAMA3),
    "llama-biases": dict(
        model_type="llama",
        tie_word_embeddings=False,
        attention_bias=True,
        mlp_bias=True,
        rope_theta=10000.0,
        rope_scaling=dict(rope_type="linear", factor=4.0),
    ),
    "llama-dynamic": dict(
        model_type="llama",
        tie_word_embeddings=False,
        max_position_embeddings=16,
        rope_parameters=dict(rope_type="dynamic", factor=2.0, rope_theta=10000.0),
    ),
    "mistral": dict(model_type="mistral", tie_word_embeddings=False, head_dim=12, sliding_window=8),
    "phi3": dict(
        model_type="phi3",
        tie_word_embeddings=False,
        sliding_window=10,
        original_max_position_embeddings=16,
        rope_parameters=LONG,
    ),
    "gemma2": dict(
        model_type="gemma2",
        head_dim=16,
        query_pre_attn_scalar=24,
        sliding_window=8,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=10.0,
        attn_implementation="eager",
    ),
    "gemma3": dict(
        model_type="gemma3_text",
        head_dim=16,
        query_pre_attn_scalar=24,
        sliding_window=8,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        rope_parameters=dict(
            full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1000000.0),
            sliding_attention=dict(rope_type="default", rope_theta=10000.0),
        ),
    ),
}


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Weights that matter: far from zero, biases and norms too, all of them values of bf16."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            value = (0.5 if "norm" in name and "gemma" not in model.config.model_type else 0.0) + 0.3 * noise
            parameter.copy_(value.bfloat16().float())


def main() -> None:
    for seed, (name, case) in enumerate(CASES.items()):
        folder = FOLDER / name
        case = {**COMMON, **case}
        attention = case.pop("attn_implementation", "eager")
        config = AutoConfig.for_model(case.pop("model_type"), **json.loads(json.dumps(case)))
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=torch.float32).eval()
        randomise(model, seed)
        generator = torch.Generator().manual_seed(1000 + seed)
        expected = {}
        for text, length in enumerate(LENGTHS):
            tokens = torch.randint(3, config.vocab_size, (1, length), generator=generator)
            with torch.inference_mode():
                logits = model(tokens, use_cache=False).logits[0]
            expected[f"tokens.{text}"] = tokens[0].to(torch.int64)
            expected[f"logits.{text}"] = logits.float().contiguous()
        model.bfloat16().save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        if name.endswith("-v4"):
            # As transformers 4 wrote it.
            path = folder / "config.json"
            written = json.loads(path.read_text())
            written.pop("rope_parameters", None)
            written |= {key: case[key] for key in ("rope_theta", "rope_scaling")}
            path.write_text(json.dumps(written, indent=2) + "\n")
        save_file(expected, folder / "logits.safetensors")
        print(name, f"largest logit {expected['logits.0'].abs().max():.2f}")


if __name__ == "__main__":
    main()
