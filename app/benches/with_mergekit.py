"""The merge of `mergescope bench`, target + 0.5·(post − pre), by mergekit: to be measured in the same turns.

    python3 -m venv venv && venv/bin/pip install mergekit==0.1.5
    mergescope bench --beside "venv/bin/python app/benches/with_mergekit.py"

The whole process counts, imports included, as a person who merges waits for them too. With MERGEKIT_IN_PROCESS_TIME set it
prints what the merge alone took, after all imports.
"""

import os
import sys
import time
from pathlib import Path

pre, post, target, out = sys.argv[1:5]
config = f"""
merge_method: task_arithmetic
base_model: {pre}
models:
  - {{model: {target}, parameters: {{weight: 1.0}}}}
  - {{model: {post}, parameters: {{weight: 0.5}}}}
dtype: bfloat16
"""

import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import MergeOptions, run_merge

began = time.perf_counter()
run_merge(
    MergeConfiguration.model_validate(yaml.safe_load(config)),
    out,
    options=MergeOptions(copy_tokenizer=False, quiet=True),
)
if os.environ.get("MERGEKIT_IN_PROCESS_TIME"):
    print(time.perf_counter() - began, file=sys.stderr)
assert any(Path(out).glob("*.safetensors"))
