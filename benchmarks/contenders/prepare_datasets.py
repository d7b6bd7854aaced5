"""GPT-2's tokens as they are usually made: ``datasets.map`` with tiktoken.

    prepare_datasets.py TEXT.jsonl OUT.bin VOCABULARY CACHE WORKERS

VOCABULARY is a folder that tiktoken takes for its cache; the library leaves in CACHE
what it leaves behind.
"""

# ruff: noqa: E402  -- the libraries read the environment when they are imported

import os
import sys

source, out, vocabulary, cache, workers = sys.argv[1:]
os.environ["TIKTOKEN_CACHE_DIR"] = vocabulary
os.environ["HF_DATASETS_CACHE"] = cache

import datasets
import numpy as np
import tiktoken

SHARDS = 64
"""Written one after the other; each is held in memory whole."""

encoding = tiktoken.get_encoding("gpt2")


def encode(row: dict[str, str]) -> dict[str, object]:
    ids = [*encoding.encode_ordinary(row["text"]), encoding.eot_token]
    return {"ids": ids, "length": len(ids)}


datasets.disable_progress_bars()
rows = datasets.load_dataset("json", data_files=source, split="train")
processes = int(workers) if int(workers) > 1 else None
encoded = rows.map(encode, remove_columns=["text"], num_proc=processes)
total = int(np.sum(encoded["length"], dtype=np.int64))
tokens = np.memmap(out, dtype=np.uint16, mode="w+", shape=(total,))
at, shards = 0, min(SHARDS, len(encoded))
for number in range(shards):
    shard = encoded.shard(shards, number, contiguous=True).with_format("numpy")
    ids = np.concatenate(shard["ids"])
    tokens[at : at + len(ids)] = ids
    at += len(ids)
tokens.flush()
