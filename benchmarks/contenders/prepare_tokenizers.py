"""GPT-2's tokens by Hugging Face's ``tokenizers``, a batch of documents at a time.

    prepare_tokenizers.py TEXT.jsonl OUT.bin VOCABULARY

VOCABULARY holds GPT-2's ``encoder.json`` and ``vocab.bpe``. How many threads are used,
the library reads from the environment.
"""

import json
import sys
from itertools import islice
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

source, out, vocabulary = sys.argv[1:]

BATCH = 64

files = (f"{vocabulary}/{name}" for name in ("encoder.json", "vocab.bpe"))
tokenizer = Tokenizer(models.BPE.from_file(*files))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
end_of_text = tokenizer.token_to_id("<|endoftext|>")
with Path(source).open(encoding="utf-8") as lines, Path(out).open("wb") as file:
    while some := list(islice(lines, BATCH)):
        texts = [json.loads(line)["text"] for line in some]
        for encoded in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            ids = [*encoded.ids, end_of_text]
            file.write(np.array(ids, dtype=np.uint16).tobytes())
