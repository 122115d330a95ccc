"""Tokens per second of Python transformers: prompt, one answer, eight answers together; as a JSON list on stdout."""

import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM

folder, dtype = sys.argv[1], sys.argv[5]
prompt, context, answer = (int(argument) for argument in sys.argv[2:5])
model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()


@torch.inference_mode()
def timed(count: int, length: int, tokens: int) -> float:
    """Seconds for `count` prompts of which each gets `tokens` tokens."""
    ids = torch.tensor([[(at * 7 + number * 31) % 100 for at in range(length)] for number in range(count)])
    mask = torch.ones_like(ids)
    began = time.perf_counter()
    model.generate(ids, attention_mask=mask, do_sample=False, min_new_tokens=tokens, max_new_tokens=tokens, pad_token_id=0)
    return time.perf_counter() - began


timed(1, context, 2)
whole = timed(1, prompt, 1)
first = timed(1, context, 1)
one = timed(1, context, answer + 1) - first
firsts = timed(8, context, 1)
eight = timed(8, context, answer + 1) - firsts
print(json.dumps([prompt / whole, answer / one, 8 * answer / eight]))
