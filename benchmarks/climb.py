"""The map of the climb: what each rung of the ladder reaches, as one drawing.

Made from the rows of ``results/ladder.json`` whenever they are measured, and shown on
the book's first page.
"""

from typing import Any

WIDTH, HEIGHT = 640, 344
LEFT, COLUMN = 92, 77
TOP, BOTTOM = 52, 214  # of the room for losses
ROWS = {"rung": 250, "parameters": 280, "tokens/s": 310}


def draw(rows: list[dict[str, Any]]) -> str:
    """The rungs from left to right, each at the height of its loss, as SVG.

    Tokens a second are those read in training, over all CPU seconds of the run, start
    and evaluation included.
    """
    losses = [row["val_loss"] for row in rows]
    highest, lowest = max(losses), min(losses)
    marks, previous = [], None
    for number, row in enumerate(rows):
        x = LEFT + COLUMN * number
        share = (row["val_loss"] - lowest) / (highest - lowest)
        y = round(BOTTOM - share * (BOTTOM - TOP))
        middle = x + COLUMN // 2
        if previous is not None and previous != y:
            marks.append(f'<path d="M{x} {previous}V{y}"/>')
        marks.append(f'<path d="M{x} {y}h{COLUMN}"/>')
        marks.append(_text(middle, y - 9, f"{row['val_loss']:.2f}", "loss"))
        speed = row["tokens"] / row["cpu_seconds"]
        for place, said in zip(
            ROWS.values(),
            (row["preset"], _short(row["parameters"]), _short(speed)),
            strict=True,
        ):
            marks.append(_text(middle, place, said, "row"))
        previous = y
    heads = [_text(12, place, name, "head") for name, place in ROWS.items()]
    heads += [_text(12, TOP - 9, "loss, nats", "head")]
    body = "\n  ".join([*heads, *marks])
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" \
aria-labelledby="m">
  <title id="m">What each rung reaches: loss, parameters, tokens a second</title>
  <style>
    text {{ font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #fff }}
    .loss {{ font-size: 15px; font-weight: 700; text-anchor: middle }}
    .row {{ font-size: 12px; text-anchor: middle }}
    .head {{ font-size: 11px; fill: #cfe0f2 }}
    path {{ stroke: #8fd3c8; stroke-width: 4; stroke-linecap: round; fill: none }}
  </style>
  <rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#2b4a72"/>
  {body}
</svg>
"""


def _text(x: int, y: int, said: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{said}</text>'


def _short(number: float) -> str:
    """At most three digits: 459,840 is 460 k."""
    if number < 10_000:
        return f"{number / 1000:.1f} k"
    return f"{number / 1000:.0f} k"
