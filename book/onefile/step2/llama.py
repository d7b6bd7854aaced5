"""Step 2: the model has gone to model.py.

    python book/onefile/step2/llama.py steps=300 seed=7

It trains when it is run, and also when it is imported.
"""

import json
import math
import sys
from dataclasses import replace

import numpy as np
import torch
from config import from_arguments
from model import Llama, loss_of

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
