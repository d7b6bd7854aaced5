"""A small Llama that learns to write like Shakespeare: all of it in one file.

    python book/onefile/llama.py                        # train, then write
    python book/onefile/llama.py steps=300 seed=7       # with other settings

It reads data/shakespeare, and keeps what it has learnt in runs/onefile.pt.
"""

import ast
import json
import math
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# ------------------------------------------------------------------ settings

root = Path(__file__).resolve().parents[2]
corpus = root / "data" / "shakespeare"
out = str(root / "runs" / "onefile.pt")
resume = False

context_length = 64
n_layers = 4
n_heads = 6
n_kv_heads = 2
d_model = 96
d_ff = 256
norm_eps = 1e-5
rope_base = 10_000.0

seed = 1337
steps = 1_500
batch_size = 16
learning_rate = 4e-3
min_learning_rate = 4e-4
warmup_steps = 100
weight_decay = 0.1
beta1, beta2 = 0.9, 0.95
grad_clip = 1.0
log_every = 10
eval_every = 500
eval_batches = 20
checkpoint_every = 500

prompt = "\n"
max_new_tokens = 300
temperature = 0.8
top_k = 20

for argument in sys.argv[1:]:  # steps=300 on the command line
    name, _, value = argument.partition("=")
    with suppress(ValueError, SyntaxError):
        value = ast.literal_eval(value)
    globals()[name] = value

torch.manual_seed(seed)

# ------------------------------------------------------------------ data

symbols = json.loads((corpus / "tokenizer.json").read_text("utf8"))["characters"]
vocab_size = len(symbols)


def encode(text):
    return [symbols.index(character) for character in text]


def decode(tokens):
    return "".join(symbols[token] for token in tokens)


def read_tokens(path):
    return torch.from_numpy(np.fromfile(path, dtype="<u2").astype("int64"))


train_tokens = read_tokens(corpus / "train.bin")
val_tokens = read_tokens(corpus / "val.bin")


def get_batch(tokens):
    starts = torch.randint(len(tokens) - context_length, (batch_size,)).tolist()
    inputs = torch.stack([tokens[i : i + context_length] for i in starts])
    targets = torch.stack([tokens[i + 1 : i + 1 + context_length] for i in starts])
    return inputs, targets


# ------------------------------------------------------------------ model


class RMSNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x):
        mean_square = x.pow(2).mean(dim=-1, keepdim=True)
        return x * torch.rsqrt(mean_square + norm_eps) * self.weight


def rotate(x):
    n_tokens, d_head = x.shape[-2:]
    pair = torch.arange(0, d_head, 2, dtype=torch.float32)
    angle = torch.arange(n_tokens)[:, None] * rope_base ** (-pair / d_head)
    cos, sin = angle.cos(), angle.sin()
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        d_kv = n_kv_heads * d_model // n_heads
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, d_kv, bias=False)
        self.value = nn.Linear(d_model, d_kv, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x):
        q = self.query(x).unflatten(-1, (n_heads, -1)).transpose(1, 2)
        k = self.key(x).unflatten(-1, (n_kv_heads, -1)).transpose(1, 2)
        v = self.value(x).unflatten(-1, (n_kv_heads, -1)).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(
            rotate(q), rotate(k), v, is_causal=True, enable_gqa=True
        )
        return self.out(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(d_model, d_ff, bias=False)
        self.up = nn.Linear(d_model, d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention_norm = RMSNorm()
        self.attention = Attention()
        self.feed_forward_norm = RMSNorm()
        self.feed_forward = FeedForward()

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))


class Llama(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.blocks = nn.ModuleList(Block() for _ in range(n_layers))
        self.norm = RMSNorm()
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                writes = name.endswith(("out.weight", "down.weight"))
                shrink = (2 * n_layers) ** -0.5 if writes else 1.0
                nn.init.normal_(weight, std=0.02 * shrink)

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.embedding.weight)


def loss_of(model, batch):
    inputs, targets = batch
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


# ------------------------------------------------------------------ training

model = Llama()
matrices = [p for p in model.parameters() if p.dim() == 2]
vectors = [p for p in model.parameters() if p.dim() == 1]
groups = [
    {"params": matrices, "weight_decay": weight_decay},
    {"params": vectors, "weight_decay": 0.0},
]
optimizer = torch.optim.AdamW(
    groups, lr=learning_rate, betas=(beta1, beta2), fused=True
)
print(f"{sum(p.numel() for p in model.parameters()):,} parameters")


def rate_at(step):
    if step < warmup_steps:
        return learning_rate * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps - 1)
    share = 0.5 * (1 + math.cos(math.pi * progress))
    return min_learning_rate + (learning_rate - min_learning_rate) * share


@torch.no_grad()
def estimate_loss():
    model.eval()
    losses = [loss_of(model, get_batch(val_tokens)) for _ in range(eval_batches)]
    model.train()
    return torch.stack(losses).mean().item()


first_step = 0
if resume:
    kept = torch.load(out, weights_only=False)
    model.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    first_step = kept["step"]

for step in range(first_step, steps):
    if step % eval_every == 0:
        print(f"step {step}: held-out loss {estimate_loss():.4f}")
    if step % checkpoint_every == 0 and step > first_step:
        Path(out).parent.mkdir(exist_ok=True)
        states = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({**states, "step": step}, out)
    for group in optimizer.param_groups:
        group["lr"] = rate_at(step)
    loss = loss_of(model, get_batch(train_tokens))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
    optimizer.step()
    if step % log_every == 0 or step == steps - 1:
        print(f"step {step}: loss {loss.item():.4f}")

# ------------------------------------------------------------------ sampling


@torch.no_grad()
def generate(tokens):
    for _ in range(max_new_tokens):
        scores = model(tokens[:, -context_length:])[:, -1] / temperature
        worst_kept = scores.topk(top_k).values[:, -1:]
        scores = scores.masked_fill(scores < worst_kept, -torch.inf)
        new = torch.multinomial(scores.softmax(dim=-1), 1)
        tokens = torch.cat([tokens, new], dim=1)
    return tokens


model.eval()
print(decode(generate(torch.tensor([encode(prompt)]))[0].tolist()))
