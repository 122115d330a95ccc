"""Ask llama.cpp's server, for real, through Mergescope's engine and compare with what transformers says of target + w·v.

    python3 -m venv venv && venv/bin/pip install torch transformers peft safetensors sentencepiece
    venv/bin/python core/tests/goldens/check_server.py path/to/mergescope path/to/llama.cpp path/to/llama-server

Exports v of the demo as an adapter of full rank, converts target and adapter to GGUF in f32, lets transformers continue the
demo's held-out problems greedily at several w, starts llama-server with the adapter and runs the test that is left out
otherwise (`llama_cpp::` in core/tests/server), which asks it the same. path/to/llama.cpp is its source tree, for the
converters; the sdist of llama-cpp-python has it as vendor/llama.cpp, from which `cmake --build … --target llama-server` makes
the server.

Run with Python 3.11, llama.cpp 0c1e57098 (CPU), torch 2.15.0, transformers 5.23.0: 120 answers, all the same.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "assets" / "demo"
LLAMA_CPP = Path(sys.argv[2]).resolve()
sys.path[:0] = [str(LLAMA_CPP / "gguf-py"), str(LLAMA_CPP), str(DEMO)]

import gguf
from conversion import ModelType, get_model_architecture, get_model_class
from conversion.base import ModelBase
from problems import held_out_problems

W = (0.0, 0.25, 1.0, -0.5)
PROBLEMS = 15
MAX_TOKENS = 48
LINEAR = re.compile(r"layers\.\d+\.(self_attn|mlp)\..*_proj\.weight$")


def expected() -> list[dict]:
    """Greedy continuations of target + w·v, of the tensors that the adapter holds."""
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "target")
    weights = {role: load_file(DEMO / role / "model.safetensors") for role in ("pre", "post", "target")}
    answers = []
    for w in W:
        model = AutoModelForCausalLM.from_pretrained(DEMO / "target", dtype=torch.float32)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if LINEAR.search(name):
                    parameter += w * (weights["post"][name].float() - weights["pre"][name].float())
        for problem in held_out_problems(PROBLEMS):
            for language in ("en", "ja"):
                prompt = problem.question(language)
                given = tokenizer(prompt, return_tensors="pt").input_ids
                made = model.generate(given, max_new_tokens=MAX_TOKENS, do_sample=False, pad_token_id=0)[0, given.shape[1] :]
                finish = "stop" if made[-1] == model.config.eos_token_id else "length"
                text = tokenizer.decode(made, skip_special_tokens=True)
                counts = {"tokens": len(made), "prompt_tokens": given.shape[1]}
                answers.append({"w": w, "prompt": prompt, "text": text, "finish": finish, **counts})
    return answers


def convert_target(out: Path) -> None:
    """The target as GGUF in f32. Its tokenizer cuts words as Qwen2's does, which llama.cpp cannot tell by itself."""
    params = ModelBase.load_hparams(DEMO / "target", False)
    architecture = get_model_class(get_model_architecture(params, ModelType.TEXT))

    class WithTokenizer(architecture):
        model_arch = architecture.model_arch

        def get_vocab_base_pre(self, tokenizer: object) -> str:
            return "qwen2"

    with torch.inference_mode():
        WithTokenizer(DEMO / "target", gguf.LlamaFileType.ALL_F32, out, hparams=params).write()


def export_adapter(program: str, folder: Path, out: Path) -> None:
    roles = [argument for role in ("pre", "post", "target") for argument in (f"--{role}", str(DEMO / role))]
    options = ["--vector-alone", "--rank", "4096", "--dtype", "f32", "--out", str(folder / "peft")]
    subprocess.run([program, "lora", *roles, *options], check=True, stdout=subprocess.DEVNULL)
    script = str(LLAMA_CPP / "convert_lora_to_gguf.py")
    options = ["--base", str(DEMO / "target"), "--outtype", "f32", "--outfile", str(out), str(folder / "peft")]
    subprocess.run([sys.executable, script, *options], check=True, capture_output=True)


def wait_for(url: str, server: subprocess.Popen) -> None:
    for _ in range(300):
        assert server.poll() is None, "llama-server ended early"
        try:
            urllib.request.urlopen(f"{url}/health", timeout=1)
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(url)


def main() -> None:
    program, binary = (str(Path(sys.argv[position]).resolve()) for position in (1, 3))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        answers = folder / "expected.json"
        answers.write_text(json.dumps({"max_tokens": MAX_TOKENS, "answers": expected()}))
        convert_target(folder / "target.gguf")
        export_adapter(program, folder, folder / "adapter.gguf")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        exact = ["--cache-type-k", "f32", "--cache-type-v", "f32", "--flash-attn", "off", "--no-repack"]
        command = [binary, "--model", folder / "target.gguf", "--lora", folder / "adapter.gguf", "--port", str(port)]
        command += ["--ctx-size", "1024", "--parallel", "4", "--threads", "1", "--api-key", "secret-of-this-test", *exact]
        with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
            try:
                url = f"http://127.0.0.1:{port}"
                wait_for(url, server)
                environment = os.environ | {
                    "MERGESCOPE_LLAMA_SERVER": url,
                    "MERGESCOPE_LLAMA_KEY": "secret-of-this-test",
                    "MERGESCOPE_LLAMA_EXPECTED": str(answers),
                }
                test = ["cargo", "test", "-p", "mergescope-core", "--test", "server", "llama_cpp::", "--", "--ignored"]
                subprocess.run([*test, "--nocapture"], cwd=ROOT, env=environment, check=True)
            except BaseException:
                print((folder / "log").read_text()[-3000:], file=sys.stderr)
                raise
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
