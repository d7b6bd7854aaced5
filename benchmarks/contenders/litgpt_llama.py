"""litgpt's Llama; runs in litgpt's own environment.

python litgpt_llama.py FOLDER
"""

import json
import sys
from pathlib import Path

import torch
from litgpt.config import Config
from litgpt.generate import base
from litgpt.model import GPT
from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.contenders.llama import Llama

folder = Path(sys.argv[1])
shape = json.loads((folder / "config.json").read_text())
config = Config(
    block_size=shape["max_position_embeddings"],
    vocab_size=shape["vocab_size"],
    padded_vocab_size=shape["vocab_size"],
    n_layer=shape["num_hidden_layers"],
    n_head=shape["num_attention_heads"],
    n_query_groups=shape["num_key_value_heads"],
    n_embd=shape["hidden_size"],
    intermediate_size=shape["intermediate_size"],
    norm_class_name="RMSNorm",
    norm_eps=shape["rms_norm_eps"],
    mlp_class_name="LLaMAMLP",
    parallel_residual=False,
    bias=False,
    rope_base=int(shape["rope_theta"]),
    rotary_percentage=1.0,
)
weights: dict[str, Tensor] = {}
copy_weights_hf_llama(config, {}, weights, load_file(folder / "model.safetensors"))
model = GPT(config)
model.load_state_dict(weights)
model.lm_head.weight = model.transformer.wte.weight  # litgpt ties nothing by itself
model.eval()


def generate(prompt: Tensor, new_tokens: int) -> Tensor:
    """As litgpt's own program does: room for this text, in a batch if there are rows.

    The room is kept from one text to the next, where litgpt's would be made anew.
    """
    rows, length = prompt.shape
    total = length + new_tokens
    cache = model.transformer.h[0].attn.kv_cache
    if cache is None or cache.k.shape[0] != rows or model.max_seq_length != total:
        model.clear_kv_cache()
        model.max_seq_length = total
        model.set_kv_cache(batch_size=rows)
    if rows == 1:
        ids = base.generate(
            model, prompt[0], total, temperature=0.0, include_prompt=False
        )
        return ids[None]
    columns = base.batched_generate_fn(
        model,
        prompt,
        total,
        sample_args={"temperature": 0.0},
        include_prompt=False,
        include_eos=False,
    )
    return torch.stack([torch.cat(column) for column in columns], dim=1)


Llama(model, model, generate).serve()
