"""How many pairs do three ways to learn the same byte pairs look at?

Nothing is timed: a pair that is looked at is a pair that is looked at on any machine.
"""

from collections.abc import Mapping, Sequence

Totals = dict[str, list[int]]


def pairs_looked_at(
    words: Mapping[bytes, int], merges: Sequence[tuple[int, int]]
) -> Totals:
    """Pairs looked at until each merge is known, all before it included.

    ``every word`` counts all pairs of the text anew for each merge, ``different words``
    those of each different word once, and ``mended counts`` counts once, and then looks
    only at words that hold the merged pair: before the merge and after it.
    """
    spelled = {word: word.decode("latin-1") for word in words}  # one sign an id
    pairs = {word: len(word) - 1 for word in words}
    every, different, mended = 0, 0, sum(pairs.values())
    found: Totals = {"every word": [], "different words": [], "mended counts": []}
    for number, (left, right) in enumerate(merges):
        every += sum(words[word] * n for word, n in pairs.items())
        different += sum(pairs.values())
        for total, ours in zip((every, different, mended), found.values(), strict=True):
            ours.append(total)
        sought, new = chr(left) + chr(right), chr(256 + number)
        for word in [word for word, signs in spelled.items() if sought in signs]:
            mended += pairs[word]
            spelled[word] = spelled[word].replace(sought, new)
            pairs[word] = len(spelled[word]) - 1
            mended += pairs[word]
    return found
