"""Holds exported merge files against mergekit itself.

    python check_exports.py PATH_OF_MERGESCOPE

Each recipe below is merged by mergescope, written as a merge file by `mergescope recipe export`, and that file is run by
mergekit (0.1.5, `pip install mergekit`). The models must be the same to the bit, but for methods whose sums over a tensor are
f64 here and f32 in torch: there within 6e-7 of the largest element in f32, and equal in bf16. Densities are left to
core/tests/methods.rs, which knows where equal magnitudes make the order decide.
"""

import logging
import pathlib
import shutil
import subprocess
import sys
import tempfile

import torch
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from safetensors.torch import load_file

INPUTS = pathlib.Path(__file__).parent / "methods" / "inputs"

CURVE = """
[vector.scaling]
curve = { kind = "linear", first = 0.25, last = 1.5 }
factors = { attention = 0.5, norm = 0.0, embed = 0.75 }
patterns = [{ tensors = "*.0.mlp.*", factor = 0.3 }]
"""

RECIPES = {
    "task_arithmetic, another target": ('target = "two"\n[vector]\npre = "base"\npost = "one"\nw = 0.3\n' + CURVE, False),
    "task_arithmetic, lambda": (
        'target = "base"\n[method]\nname = "task_arithmetic"\nlambda = 0.7\n'
        '[[vector]]\npre = "base"\npost = "one"\nw = 0.3\n' + CURVE + '[[vector]]\npre = "base"\npost = "two"\nw = -0.8\n',
        False,
    ),
    "linear": (
        'target = "one"\n[method]\nname = "linear"\n[[vector]]\npost = "one"\nw = 0.3\n[[vector]]\npost = "two"\nw = 0.9\n'
        + CURVE,
        False,
    ),
    "ties": (
        'target = "base"\n[method]\nname = "ties"\ndensity = 1.0\n'
        '[[vector]]\npre = "base"\npost = "one"\nw = 0.3\n' + CURVE + '[[vector]]\npre = "base"\npost = "two"\nw = 0.6\n',
        False,
    ),
    "slerp": ('target = "base"\n[method]\nname = "slerp"\n[vector]\npost = "one"\nw = 0.4\n' + CURVE, True),
    "nuslerp": (
        'target = "base"\n[method]\nname = "nuslerp"\n'
        '[[vector]]\npre = "base"\npost = "one"\nw = 0.4\n[[vector]]\npre = "base"\npost = "two"\nw = 0.6\n',
        True,
    ),
    "model_stock": (
        'target = "base"\n[method]\nname = "model_stock"\n'
        '[[vector]]\npre = "base"\npost = "one"\nw = 1\n[[vector]]\npre = "base"\npost = "two"\nw = 1\n',
        True,
    ),
    "sce": (
        'target = "base"\n[method]\nname = "sce"\n'
        '[[vector]]\npre = "base"\npost = "one"\nw = 1\n[[vector]]\npre = "base"\npost = "two"\nw = 1\n',
        True,
    ),
}


# Here the vectors of the inputs are opposites. Where nuslerp is in between is nowhere, and the last bit of a cosine decides.
OPPOSITE = {("nuslerp", "model.layers.0.self_attn.v_proj.bias")}


def main(mergescope):
    logging.disable(logging.CRITICAL)
    failed = 0
    for name, (recipe, f64_sums) in RECIPES.items():
        for variant, rounding in (("f32", "mergekit-f32"), ("bf16", "mergekit-bf16"), ("bf16", "mergekit-f32")):
            with tempfile.TemporaryDirectory() as folder:
                work = pathlib.Path(folder)
                shutil.copytree(INPUTS / variant, work, dirs_exist_ok=True)
                output = f'[output]\nrounding = "{rounding}"\n'
                (work / "recipe.toml").write_text("version = 1\n" + recipe + output)

                def run(*args):
                    return subprocess.run([mergescope, *args], cwd=work, check=True, capture_output=True, text=True).stdout

                run("merge", "--recipe", "recipe.toml", "--out", "ours")
                text = run("recipe", "export", "recipe.toml")
                config = MergeConfiguration.model_validate(yaml.safe_load(text))
                run_merge(config, str(work / "theirs"), MergeOptions(quiet=True, copy_tokenizer=False))
                ours, theirs = (load_file(work / place / "model.safetensors") for place in ("ours", "theirs"))
                assert ours.keys() == theirs.keys(), (ours.keys(), theirs.keys())
                unequal, largest = 0, 0.0
                for tensor, expected in theirs.items():
                    if (name, tensor) in OPPOSITE:
                        continue
                    found = ours[tensor]
                    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), tensor
                    unequal += int((found != expected).sum())
                    error = (found.double() - expected.double()).abs().max() / expected.double().abs().max()
                    largest = max(largest, float(error))
                within = unequal == 0 or (f64_sums and variant == "f32" and largest < 6e-7)
                failed += not within
                verdict = "ok" if within else "DIFFERS"
                print(f"{verdict}: {name}, {variant}, {rounding}: {unequal} elements differ, by {largest:.1e} at most")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
