"""Step 1: the settings have gone to config.py, frozen.

    python book/onefile/step1/llama.py steps=300 seed=7

It trains when it is run, and also when it is imported.
"""

import json
import math
import sys
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from config import from_arguments
from torch import nn

config = from_arguments(sys.argv[1:])
torch.manual_seed(config.train.seed)

# ------------------------------------------------------------------ data

corpus = config.train.corpus
symbols = json.loads((corpus / "tokenizer.json").read_text("utf8"))["characters"]
shape = replace(config.model, vocab_size=len(symbols))


def encode(text):
    return [symbols.index(character) for character in text]


def decode(tokens):
    return "".join(symbols[token] for token in tokens)


def read_tokens(path):
    return torch.from_numpy(np.fromfile(path, dtype="<u2").astype("int64"))


train_tokens = read_tokens(corpus / "train.bin")
val_tokens = read_tokens(corpus / "val.bin")


def get_batch(tokens, batch_size, context_length):
    starts = torch.randint(len(tokens) - context_length, (batch_size,)).tolist()
    inputs = torch.stack([tokens[i : i + context_length] for i in starts])
    targets = torch.stack([tokens[i + 1 : i + 1 + context_length] for i in starts])
    return inputs, targets


# ------------------------------------------------------------------ model


class RMSNorm(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.eps = config.norm_eps
        self.weight = nn.Parameter(torch.ones(config.d_model))

    def forward(self, x):
        mean_square = x.pow(2).mean(dim=-1, keepdim=True)
        return x * torch.rsqrt(mean_square + self.eps) * self.weight


def rotate(x, base):
    n_tokens, d_head = x.shape[-2:]
    pair = torch.arange(0, d_head, 2, dtype=torch.float32)
    angle = torch.arange(n_tokens)[:, None] * base ** (-pair / d_head)
    cos, sin = angle.cos(), angle.sin()
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, d_model = config, config.d_model
        d_kv = config.n_kv_heads * d_model // config.n_heads
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, d_kv, bias=False)
        self.value = nn.Linear(d_model, d_kv, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x):
        n_heads, n_kv_heads = self.config.n_heads, self.config.n_kv_heads
        q = self.query(x).unflatten(-1, (n_heads, -1)).transpose(1, 2)
        k = self.key(x).unflatten(-1, (n_kv_heads, -1)).transpose(1, 2)
        v = self.value(x).unflatten(-1, (n_kv_heads, -1)).transpose(1, 2)
        q, k = rotate(q, self.config.rope_base), rotate(k, self.config.rope_base)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, config):
        super().__init__()
        d_model, d_ff = config.d_model, config.d_ff
        self.gate = nn.Linear(d_model, d_ff, bias=False)
        self.up = nn.Linear(d_model, d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.attention_norm = RMSNorm(config)
        self.attention = Attention(config)
        self.feed_forward_norm = RMSNorm(config)
        self.feed_forward = FeedForward(config)

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))


class Llama(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                writes = name.endswith(("out.weight", "down.weight"))
                shrink = (2 * config.n_layers) ** -0.5 if writes else 1.0
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

settings = config.train
model = Llama(shape)
matrices = [p for p in model.parameters() if p.dim() == 2]
vectors = [p for p in model.parameters() if p.dim() == 1]
groups = [
    {"params": matrices, "weight_decay": settings.weight_decay},
    {"params": vectors, "weight_decay": 0.0},
]
betas = (settings.beta1, settings.beta2)
optimizer = torch.optim.AdamW(
    groups, lr=settings.learning_rate, betas=betas, fused=True
)
print(f"{sum(p.numel() for p in model.parameters()):,} parameters")


def rate_at(step):
    peak, lowest = settings.learning_rate, settings.min_learning_rate
    warmup, steps = settings.warmup_steps, settings.steps
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup - 1)
    share = 0.5 * (1 + math.cos(math.pi * progress))
    return lowest + (peak - lowest) * share


def batch_of(tokens):
    return get_batch(tokens, settings.batch_size, shape.context_length)


@torch.no_grad()
def estimate_loss():
    model.eval()
    batches = range(settings.eval_batches)
    losses = [loss_of(model, batch_of(val_tokens)) for _ in batches]
    model.train()
    return torch.stack(losses).mean().item()


out, first_step = settings.out, 0
if settings.resume:
    kept = torch.load(out, weights_only=False)
    model.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    first_step = kept["step"]

for step in range(first_step, settings.steps):
    if step % settings.eval_every == 0:
        print(f"step {step}: held-out loss {estimate_loss():.4f}")
    if step % settings.checkpoint_every == 0 and step > first_step:
        out.parent.mkdir(exist_ok=True)
        states = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({**states, "step": step}, out)
    for group in optimizer.param_groups:
        group["lr"] = rate_at(step)
    loss = loss_of(model, batch_of(train_tokens))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)
    optimizer.step()
    if step % settings.log_every == 0 or step == settings.steps - 1:
        print(f"step {step}: loss {loss.item():.4f}")

# ------------------------------------------------------------------ sampling


@torch.no_grad()
def generate(model, tokens, settings, context_length):
    for _ in range(settings.max_new_tokens):
        scores = model(tokens[:, -context_length:])[:, -1] / settings.temperature
        worst_kept = scores.topk(settings.top_k).values[:, -1:]
        scores = scores.masked_fill(scores < worst_kept, -torch.inf)
        new = torch.multinomial(scores.softmax(dim=-1), 1)
        tokens = torch.cat([tokens, new], dim=1)
    return tokens


model.eval()
first = torch.tensor([encode(config.sample.prompt)])
tokens = generate(model, first, config.sample, shape.context_length)
print(decode(tokens[0].tolist()))
