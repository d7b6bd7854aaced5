"""transformers' Llama.

    python transformers_llama.py FOLDER eager|compiled|static

``compiled`` differs in training only, and ``static`` in generation: its cache has room
of a fixed size.
"""

import sys

import torch
from torch import Tensor
from transformers import GenerationConfig, LlamaForCausalLM

from benchmarks.contenders.llama import Llama

folder, mode = sys.argv[1:]
model = LlamaForCausalLM.from_pretrained(
    folder, attn_implementation="sdpa", dtype=torch.float32
).eval()


def forward(tokens: Tensor) -> Tensor:
    return model(input_ids=tokens, use_cache=False).logits


def generate(prompt: Tensor, new_tokens: int) -> Tensor:
    settings = GenerationConfig(
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        cache_implementation="static" if mode == "static" else None,
    )
    said = model.generate(
        prompt, generation_config=settings, attention_mask=torch.ones_like(prompt)
    )
    return said[:, prompt.shape[1] :]


Llama(model, forward, generate, compiled=mode == "compiled").serve()
