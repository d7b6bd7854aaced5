"""x-transformers' decoder in the sizes of a Llama; for the training step only.

    python x_transformers_llama.py FOLDER

Its weights are its own: its rotation pairs neighbours, its norm has no epsilon and its
gate a bias that cannot be left out. The work is the same to 0.2 % of the parameters.
"""

import json
import sys
from pathlib import Path

import torch
from x_transformers import Decoder, TransformerWrapper

from benchmarks.contenders.llama import Llama

shape = json.loads((Path(sys.argv[1]) / "config.json").read_text())
width, heads = shape["hidden_size"], shape["num_attention_heads"]
torch.manual_seed(0)
model = TransformerWrapper(
    num_tokens=shape["vocab_size"],
    max_seq_len=shape["max_position_embeddings"],
    use_abs_pos_emb=False,
    tie_embedding=True,
    tie_embedding_scale=1.0,
    attn_layers=Decoder(
        dim=width,
        depth=shape["num_hidden_layers"],
        heads=heads,
        attn_dim_head=width // heads,
        attn_flash=True,  # PyTorch's kernel, as everyone here
        rotary_pos_emb=True,
        rotary_emb_dim=width // heads,
        use_rmsnorm=True,
        ff_mult=shape["intermediate_size"] / width,
        ff_glu=True,
        ff_swish=True,
        ff_no_bias=True,
    ),
)

Llama(model, model).serve()
