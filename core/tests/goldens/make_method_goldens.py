"""Make the golden merges of the other methods: tiny deterministic models, merged by mergekit 0.1.5.

    python3 -m venv venv && venv/bin/pip install mergekit==0.1.5
    OMP_NUM_THREADS=1 venv/bin/python core/tests/goldens/make_method_goldens.py

Made with Python 3.11.7, mergekit 0.1.5, torch 2.15.0 (CPU), transformers 5.23.0, safetensors 0.8.0, numpy 2.4.6.

Writes inputs/, expected/, cases.json and random.json in methods/ beside this file. Every expected tensor is also computed
by methods/reference.py from the YAML of its case, and must agree bit for bit. methods/README.md says what is in the files.
"""

import json
import shutil
import string
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import MergeOptions, run_merge
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent / "methods"
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True
import reference  # noqa: E402

MODELS = ("base", "one", "two", "three")
HIDDEN, LAYERS, HEADS, KV_HEADS, FFN, VOCAB = 12, 2, 4, 2, 13, 11
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# input variant: dtype of the files, tied embeddings
VARIANTS = {"f32": ("float32", False), "bf16": ("bfloat16", True)}
# runs of every setting: input variant, dtype of the merge
RUNS = (("f32", "float32"), ("bf16", "bfloat16"))

TASK_VECTORS = {  # method: trim, consensus, the default of normalize
    "task_arithmetic": (None, False, False),
    "ties": (reference.magnitude, True, True),
    "dare_linear": (reference.dare, False, False),
    "dare_ties": (reference.dare, True, False),
    "della_linear": (reference.della, False, False),
    "della": (reference.della, True, True),
    "breadcrumbs": (reference.breadcrumbs, False, False),
    "breadcrumbs_ties": (reference.breadcrumbs, True, False),
}

# name: YAML without dtype, further (variant, dtype) runs. $base and so on stand for the folders of the models.
ALSO_WIDE = (("bf16", "float32"),)
SETTINGS = {
    "linear": (
        """
merge_method: linear
models:
  - {model: $one, parameters: {weight: 0.3}}
  - {model: $two, parameters: {weight: 0.9}}
""",
        ALSO_WIDE,
    ),
    "linear-base-last": (
        """
merge_method: linear
base_model: $base
models:
  - {model: $one, parameters: {weight: 1.0}}
  - {model: $two, parameters: {weight: -0.55}}
parameters: {normalize: false, weight: 0.4}
""",
        (),
    ),
    "linear-base-listed": (
        """
merge_method: linear
base_model: $base
models:
  - {model: $one, parameters: {weight: 0.3}}
  - {model: $base, parameters: {weight: 0.45}}
  - {model: $three, parameters: {weight: [{filter: mlp, value: [0.1, 0.7]}, {value: 0.2}]}}
""",
        (),
    ),
    "task-arithmetic": (
        """
merge_method: task_arithmetic
base_model: $base
models:
  - {model: $one, parameters: {weight: 0.3}}
  - {model: $two, parameters: {weight: -0.8}}
parameters: {lambda: 0.7}
""",
        (),
    ),
    "task-arithmetic-normalized": (
        """
merge_method: task_arithmetic
base_model: $base
models:
  - model: $one
    parameters:
      weight:
        - {filter: self_attn, value: [0.2, 0.9]}
        - {filter: q_proj, value: 5.0}
        - {filter: model.norm, value: 0.0}
        - {value: 0.6}
  - {model: $two, parameters: {weight: 0.45}}
  - {model: $three, parameters: {weight: [1.3, -0.1, 0.4]}}
parameters: {normalize: true}
""",
        (),
    ),
    "ties": (
        """
merge_method: ties
base_model: $base
models:
  - {model: $one, parameters: {weight: 1.0}}
  - {model: $two, parameters: {weight: 1.0}}
parameters: {density: 0.2}
""",
        ALSO_WIDE,
    ),
    "ties-three": (
        """
merge_method: ties
base_model: $base
models:
  - {model: $one, parameters: {weight: 0.3, density: 0.5}}
  - {model: $two, parameters: {weight: -0.5, density: 0.37}}
  - {model: $three, parameters: {weight: 1.7, density: 1.0}}
parameters: {normalize: false, lambda: 0.7}
""",
        (),
    ),
    "ties-rescale": (
        """
merge_method: ties
base_model: $base
models:
  - {model: $one, parameters: {weight: 0.3}}
  - {model: $two, parameters: {weight: 0.6}}
  - {model: $three, parameters: {weight: 0.4}}
parameters: {normalize: true, density: 0.5, rescale: true, int8_mask: true}
""",
        (),
    ),
    "ties-slices": (
        """
merge_method: ties
base_model: $base
slices:
  - sources:
      - {model: $base, layer_range: [0, 1]}
      - {model: $one, layer_range: [0, 1], parameters: {weight: 0.5}}
      - {model: $two, layer_range: [0, 1], parameters: {weight: 0.7}}
  - sources:
      - {model: $base, layer_range: [1, 2]}
      - {model: $one, layer_range: [1, 2], parameters: {weight: [{filter: mlp, value: 0.9}, {value: 0.2}]}}
      - {model: $two, layer_range: [1, 2], parameters: {weight: 0.1}}
    parameters: {density: 0.37}
parameters:
  density: 0.5
""",
        (),
    ),
    "breadcrumbs": (
        """
merge_method: breadcrumbs
base_model: $base
models:
  - {model: $one, parameters: {weight: 0.3}}
  - {model: $two, parameters: {weight: 0.6}}
parameters: {density: 0.5, gamma: 0.1}
""",
        (),
    ),
    "breadcrumbs-crossed": (
        """
merge_method: breadcrumbs
base_model: $base
models:
  - {model: $one, parameters: {weight: 0.3, density: 0.9, gamma: 0.3}}
  - {model: $two, parameters: {weight: 0.6, density: 0.2, gamma: 0.95}}
  - {model: $three, parameters: {weight: 0.4, density: 1.0, gamma: 0.5}}
parameters: {normalize: true, lambda: 0.7}
""",
        (),
    ),
    "breadcrumbs-ties": (
        """
merge_method: breadcrumbs_ties
base_model: $base
models:
  - {model: $one, parameters: {weight: 1.0}}
  - {model: $two, parameters: {weight: 1.0}}
parameters: {density: 0.37}
""",
        (),
    ),
    "breadcrumbs-ties-three": (
        """
merge_method: breadcrumbs_ties
base_model: $base
models:
  - {model: $one, parameters: {weight: 0.7, density: 0.9, gamma: 0.05}}
  - {model: $two, parameters: {weight: -0.6, density: 0.5, gamma: 0.1}}
  - {model: $three, parameters: {weight: 0.4, density: 0.8, gamma: 0.1}}
parameters: {normalize: true, lambda: 0.7}
""",
        (),
    ),
    "slerp": (
        """
merge_method: slerp
base_model: $base
models:
  - {model: $one}
parameters: {t: 0.3}
""",
        (),
    ),
    "slerp-gradient": (
        """
merge_method: slerp
base_model: $one
models:
  - {model: $one}
  - {model: $two}
parameters:
  t:
    - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}
    - {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}
    - {value: 0.5}
""",
        (),
    ),
    "nuslerp": (
        """
merge_method: nuslerp
models:
  - {model: $one, parameters: {weight: 0.4}}
  - {model: $two, parameters: {weight: 0.8}}
""",
        (),
    ),
    "nuslerp-base-dim0": (
        """
merge_method: nuslerp
base_model: $base
models:
  - {model: $one, parameters: {weight: 0.4}}
  - {model: $two, parameters: {weight: 0.6}}
parameters: {nuslerp_flatten: false, nuslerp_row_wise: true}
""",
        (),
    ),
    "nuslerp-last-dim": (
        """
merge_method: nuslerp
models:
  - {model: $one, parameters: {weight: 1}}
  - {model: $two, parameters: {weight: 3}}
parameters: {nuslerp_flatten: false}
""",
        (),
    ),
    "model-stock": (
        """
merge_method: model_stock
base_model: $base
models:
  - {model: $one}
  - {model: $two}
""",
        (),
    ),
    "model-stock-filter-wise": (
        """
merge_method: model_stock
base_model: $base
models:
  - {model: $one}
  - {model: $two}
  - {model: $three}
parameters: {filter_wise: true}
""",
        (),
    ),
    "model-stock-three": (
        """
merge_method: model_stock
base_model: $base
models:
  - {model: $base}
  - {model: $one}
  - {model: $two}
  - {model: $three}
""",
        (),
    ),
    "sce": (
        """
merge_method: sce
base_model: $base
models:
  - {model: $one}
  - {model: $two}
""",
        (),
    ),
    "sce-three": (
        """
merge_method: sce
base_model: $base
models:
  - {model: $one}
  - {model: $two}
  - {model: $three}
parameters: {select_topk: 0.37}
""",
        (),
    ),
}
# The methods that draw at random, where density 1 leaves nothing to draw.
SETTINGS |= {
    method.replace("_", "-") + "-all": (
        f"""
merge_method: {method}
base_model: $base
models:
  - {{model: $one, parameters: {{weight: 0.3}}}}
  - {{model: $two, parameters: {{weight: 0.6, density: 1.0}}}}
""",
        (),
    )
    for method in ("dare_ties", "della")
}


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


def models(tied: bool) -> dict[str, dict[str, np.ndarray]]:
    """Values of the models in f64: a base and three of it with deltas that share a part, and planted oddities."""
    rng = np.random.default_rng(20250311)
    result: dict[str, dict[str, np.ndarray]] = {model: {} for model in MODELS}
    for name, shape in shapes(tied).items():
        base = rng.normal(1.0 if "norm" in name else 0.0, 0.1, shape)
        shared = rng.normal(0.0, 0.02, shape)
        result["base"][name] = base
        for model, part in zip(MODELS[1:], (1.0, 0.5, -0.3)):
            result[model][name] = base + part * shared + rng.normal(0.0, 0.02, shape) * rng.choice([0.3, 1.0, 3.0], shape)
    one, two, three = (result[model] for model in MODELS[1:])
    # Exact deltas: all values are small multiples of 1/128, so that they are exact in bf16 too.
    for n in range(LAYERS):
        layer = f"model.layers.{n}."
        for name, steps in (
            (layer + "input_layernorm.weight", 3),  # ties in a tensor small enough to be sorted by index
            (layer + "self_attn.o_proj.weight", 3 if n else 90),  # in layer 1 ties all over a larger tensor
        ):
            shape = result["base"][name].shape
            result["base"][name] = rng.integers(-16, 17, shape) / 128
            for tensors in (one, two, three):
                delta = rng.integers(1, steps + 1, shape) * rng.choice([-1, 1], shape)
                tensors[name] = result["base"][name] + delta / 128
        name = layer + "self_attn.v_proj.bias"  # opposite deltas, whose weighted sum is 0 with equal weights
        result["base"][name] = rng.integers(-16, 17, result["base"][name].shape) / 128
        delta = rng.integers(1, 20, result["base"][name].shape) / 128
        one[name], two[name], three[name] = (result["base"][name] + s * delta for s in (1, -1, 1))
        one[layer + "self_attn.q_proj.bias"] = result["base"][layer + "self_attn.q_proj.bias"].copy()  # no change at all
        for tensors in (one, two):
            tensors[layer + "self_attn.k_proj.bias"][:3] = result["base"][layer + "self_attn.k_proj.bias"][:3]
        gate = layer + "mlp.gate_proj.weight"
        two[gate][2] = one[gate][2]  # two equal rows
        one[gate][5] = result["base"][gate][5]  # a row without change
        one[gate][7, 3] += 2.0  # an outlier
        up = layer + "mlp.up_proj.weight"
        two[up] = one[up] + rng.normal(0.0, 1e-3, one[up].shape)  # nearly parallel
        three[layer + "post_attention_layernorm.weight"] = np.zeros(HIDDEN)  # a zero vector
    signs = np.array(np.meshgrid((0.0, -0.0), (0.0, -0.0, 0.5), (0.0, -0.0, -0.5), indexing="ij")).reshape(3, -1)
    for model, column in zip(MODELS, (*signs, signs[1])):
        result[model]["model.embed_tokens.weight"].reshape(-1)[: column.size] = column
    return result


def write_model(folder: Path, values: dict[str, np.ndarray], dtype: str, tied: bool) -> None:
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
        "torch_dtype": dtype,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tensors = {name: torch.from_numpy(value).to(DTYPES[dtype]) for name, value in values.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def run_mergekit(config: dict, seed: int | None = None) -> Path:
    """Run mergekit, and give back the file that it writes."""
    out = Path(tempfile.mkdtemp())
    options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, random_seed=seed)
    run_merge(MergeConfiguration.model_validate(config), str(out), options)
    return out / "model.safetensors"


def merged_by_mergekit(config: dict, expected: Path) -> None:
    """Keep what mergekit writes for a configuration."""
    file = run_mergekit(config)
    shutil.copy(file, expected)
    shutil.rmtree(file.parent)


def setting_of(levels: list[dict], name: str, tensor: str, layers: int, layer: int | None, default):
    """The value of a setting for a tensor: the first level that has one for it; a gradient runs over the layers of the slice."""
    for level in levels:
        if name not in level:
            continue
        value = level[name]
        entries = value if isinstance(value, list) and isinstance(value[0], dict) else [{"value": value}]
        for entry in entries:
            if entry.get("filter", "*") != "*" and entry["filter"] not in tensor:
                continue
            points = entry["value"]
            if not isinstance(points, list):
                return points
            t = 0.0 if layer is None else 1.0 if layers == 1 else layer / (layers - 1)
            place = t * (len(points) - 1)
            i = min(int(place), len(points) - 2)
            fraction = place - i
            return (1 - fraction) * points[i] + fraction * points[i + 1]
    if default is None:
        raise KeyError(name)
    return default


def by_reference(config: dict, inputs: dict[str, dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The merge as methods/reference.py computes it."""
    method, base = config["merge_method"], config.get("base_model")
    result = {}
    for name in inputs["one"]:
        layer = int(name.split(".")[2]) if ".layers." in name else None
        sources, levels, layers = config.get("models"), [], LAYERS
        if sources is None:  # one slice for each layer; what is in no layer belongs to the first or the last
            last = layer == 1 or name in ("model.norm.weight", "lm_head.weight")
            chosen = config["slices"][int(last)]
            sources, levels, layers = chosen["sources"], [chosen.get("parameters", {})], 1
            layer = None if layer is None else 0
        levels = levels + [config.get("parameters", {})]
        if base and method == "linear" and all(source["model"] != base for source in sources):
            sources = [*sources, {"model": base}]
        listed = sources if method == "linear" else [source for source in sources if source["model"] != base]

        def shared(setting, default=None, name=name, levels=levels, layers=layers, layer=layer):
            return setting_of(levels, setting, name, layers, layer, default)

        def each(setting, default=None, name=name, levels=levels, layers=layers, layer=layer, listed=listed):
            own = [[source.get("parameters", {}), *levels] for source in listed]
            return [setting_of(found, setting, name, layers, layer, default) for found in own]

        tensors = {model: values[name].to(DTYPES[config["dtype"]]) for model, values in inputs.items()}
        xs = [tensors[source["model"]] for source in listed]
        b = tensors[base] if base else None
        if method == "linear":
            out = reference.linear(xs, each("weight"), shared("normalize", True))
        elif method == "slerp":
            out = reference.slerp(b, xs[0], shared("t"))
        elif method == "nuslerp":
            flags = shared("nuslerp_flatten", True), shared("nuslerp_row_wise", False)
            out = reference.nuslerp(*xs, *each("weight"), b, *flags)
        elif method == "model_stock":
            out = reference.model_stock(b, xs, shared("filter_wise", False))
        elif method == "sce":
            out = reference.sce(b, xs, shared("select_topk", 1.0))
        else:
            trim, consensus, normalize = TASK_VECTORS[method]
            settings = {}
            if trim is not None:
                settings["density"] = each("density", 1.0)
            if trim is reference.breadcrumbs:
                settings["gamma"] = each("gamma", 0.01)
            flags = {"normalize": shared("normalize", normalize), "rescale": shared("rescale", False)}
            out = reference.task_vectors(
                b, xs, each("weight"), trim, consensus, lambda_=shared("lambda", 1.0), **flags, **settings
            )
        result[name] = out
    return result


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference of two tensors, as a part of the largest magnitude in them."""
    largest = float(theirs.double().abs().max())
    return float((ours.double() - theirs.double()).abs().max()) / largest if largest else 0.0


def with_switch(switch: str, value: str, config: dict, inputs: dict) -> dict[str, torch.Tensor]:
    """The merge by the reference with one of its switches set."""
    before = getattr(reference, switch)
    setattr(reference, switch, value)
    result = by_reference(config, inputs)
    setattr(reference, switch, before)
    return result


def case(name: str, text: str, variant: str, dtype: str) -> dict:
    """Merge one case, check it, and describe it."""
    out_dtype = VARIANTS[variant][0]
    text = text.lstrip("\n") + f"dtype: {dtype}\n" + (f"out_dtype: {out_dtype}\n" if out_dtype != dtype else "")
    folders = {model: HERE / "inputs" / variant / model for model in MODELS}
    path = f"expected/{name}-{variant}{'' if out_dtype == dtype else '-' + dtype}.safetensors"
    merged_by_mergekit(yaml.safe_load(string.Template(text).substitute(folders)), HERE / path)
    config = yaml.safe_load(string.Template(text).substitute({model: model for model in MODELS}))
    inputs = {model: load_file(folder / "model.safetensors") for model, folder in folders.items()}
    theirs = load_file(HERE / path)
    to_output = {name: tensor.to(DTYPES[out_dtype]) for name, tensor in by_reference(config, inputs).items()}
    assert theirs.keys() == to_output.keys(), (path, theirs.keys() ^ to_output.keys())
    bits = torch.int32 if out_dtype == "float32" else torch.int16
    for tensor, ours in to_output.items():
        assert theirs[tensor].isfinite().all(), (path, tensor)
        different = int((theirs[tensor].view(bits) != ours.view(bits)).sum())
        assert different == 0, (path, tensor, different, error(ours, theirs[tensor]))

    stable = with_switch("ORDER_OF_EQUALS", "index", config, inputs)
    tied = [tensor for tensor in sorted(theirs) if error(stable[tensor].to(DTYPES[out_dtype]), theirs[tensor])]
    wide = with_switch("SUMS", "f64", config, inputs)
    apart = max(error(wide[tensor].to(DTYPES[out_dtype]), theirs[tensor]) for tensor in theirs)
    result = {"name": name, "variant": variant, "dtype": dtype, "out_dtype": out_dtype, "expected": path}
    return result | {"order_of_equals": tied, "f64_sums_error": float(f"{apart:.1e}"), "yaml": text}


# Random methods: method, density, epsilon, rescale, dtype
RANDOM = [
    (method, density, None, True, dtype)
    for method in ("dare_linear", "dare_ties")
    for density in (0.2, 0.5, 0.9)
    for dtype in DTYPES
] + [
    (method, density, epsilon, True, dtype)
    for method in ("della_linear", "della")
    for density, epsilon in ((0.5, None), (0.37, 0.1), (0.8, 0.15))
    for dtype in DTYPES
]
RANDOM += [("dare_linear", 0.5, None, False, "float32"), ("della_linear", 0.5, 0.2, False, "float32")]
ROWS, COLUMNS, SEEDS = 256, 101, 10


def statistics(method: str, density: float, epsilon: float | None, rescale: bool, dtype: str) -> dict:
    """Merge one model of a single large delta with several seeds, and count what is kept.

    The delta at flat index i is ±(1 + 37·i mod 101) / 128, minus where i is odd: each row has each of 101 magnitudes once.
    """
    i = torch.arange(ROWS * COLUMNS)
    rank = (37 * i % COLUMNS).reshape(ROWS, COLUMNS)
    delta = ((1 + rank) / 128 * torch.where(i % 2 == 1, -1, 1).reshape(rank.shape)).to(DTYPES[dtype])
    parameters = {"density": density, "rescale": rescale} | ({} if epsilon is None else {"epsilon": epsilon})
    kept, by_rank, factors = [], torch.zeros(COLUMNS), []
    with tempfile.TemporaryDirectory() as folder:
        for model, tensor in (("base", torch.zeros_like(delta)), ("one", delta)):
            write_model(Path(folder) / model, {}, "float32", True)
            config = Path(folder) / model / "config.json"
            config.write_text(config.read_text().replace(f'"num_hidden_layers": {LAYERS}', '"num_hidden_layers": 0'))
            tensors = {"model.embed_tokens.weight": tensor, "model.norm.weight": torch.ones(2, dtype=delta.dtype)}
            save_file(tensors, Path(folder) / model / "model.safetensors", {"format": "pt"})
        for seed in range(SEEDS):
            file = run_mergekit(
                {
                    "merge_method": method,
                    "base_model": f"{folder}/base",
                    "models": [{"model": f"{folder}/one", "parameters": {"weight": 1.0}}],
                    "parameters": parameters,
                    "dtype": dtype,
                },
                seed,
            )
            out = load_file(file)["model.embed_tokens.weight"]
            shutil.rmtree(file.parent)
            mask = out != 0
            again = reference.rescaled(delta, delta * mask) if rescale else delta * mask
            assert torch.equal(out, again), (method, density, epsilon, dtype, seed)
            kept.append(float(mask.double().mean()))
            by_rank += torch.zeros(COLUMNS).index_add(0, rank[mask], torch.ones(int(mask.sum())))
            factors.append(float((out[mask].double() / delta[mask].double()).mean()))
    share = {"kept_by_rank": [round(float(x), 4) for x in by_rank / (ROWS * SEEDS)]} if "della" in method else {}
    described = {"method": method, "dtype": dtype, "density": density, "epsilon": epsilon, "rescale": rescale}
    return described | {"kept": [round(x, 6) for x in kept], "factor": [round(x, 6) for x in factors]} | share


def main() -> None:
    """Write everything anew."""
    torch.set_num_threads(1)
    for folder in ("inputs", "expected"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
    (HERE / "expected").mkdir()
    for variant, (dtype, tied) in VARIANTS.items():
        for model, values in models(tied).items():
            write_model(HERE / "inputs" / variant / model, values, dtype, tied)
    cases = []
    for name, (text, further) in SETTINGS.items():
        for variant, dtype in (*RUNS, *further):
            cases.append(case(name, text, variant, dtype))
    lines = ",\n".join("  " + json.dumps(found) for found in cases)
    (HERE / "cases.json").write_text(f"[\n{lines}\n]\n")
    drawn = [statistics(*settings) for settings in RANDOM]
    lines = ",\n".join("  " + json.dumps(found) for found in drawn)
    head = json.dumps({"rows": ROWS, "columns": COLUMNS, "seeds": SEEDS})[:-1]
    (HERE / "random.json").write_text(f'{head}, "cases": [\n{lines}\n]}}\n')
    print(f"{len(cases)} merges, all equal to the reference bit for bit; statistics of {len(drawn)} random settings")


if __name__ == "__main__":
    main()
