"""What do eight-bit weights cost in loss, and what do they save?

The model that ships with the book predicts the whole validation split of the nine
plays twice: as it is, and with its matrices rounded by ``minillm.fast.quantize``.
"""

import tempfile

import torch

from benchmarks.harness import ROOT, write
from minillm import checkpoint, corpora, data, fast
from minillm.evaluate import evaluate
from minillm.model import LanguageModel

SHIPPED = ROOT / "book" / "models" / "shakespeare"


def num_bytes(model: LanguageModel) -> int:
    """What all parameters and rounded matrices hold."""
    return sum(
        tensor.numel() * tensor.element_size() for tensor in model.state_dict().values()
    )


def main(threads: int) -> None:
    torch.set_num_threads(threads)
    loaded = checkpoint.load(SHIPPED)
    (document,) = corpora.open_source("shakespeare").documents()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        text = "".join(document.pieces())
        corpus = data.prepare_text(text, folder, loaded.tokenizer)
        for weights in ("float32", "int8"):
            model = loaded.model
            if weights == "int8":
                model = fast.quantize(model)
            found = evaluate(model, corpus.val)
            assert found.bits_per_byte is not None
            rows.append(
                {
                    "weights": weights,
                    "val_loss": round(found.loss, 5),
                    "val_bits_per_byte": round(found.bits_per_byte, 5),
                    "kibibytes": round(num_bytes(model) / 1024, 1),
                    "tokens": found.tokens,
                }
            )
    for row in rows:
        print(f"{row['weights']}: {row['val_loss']} nats, {row['kibibytes']} KiB")
    write("eight_bits", [], rows, threads)
