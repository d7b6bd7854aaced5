"""Wrong answers that people have really written, and right ones written otherwise.

One file a chapter, and beside it ``<chapter>_blind.py``, written by someone who has
not read the check. Both hold two dictionaries whose keys are the names of checks:

    BUGS   {"count_bigrams": {wrong_function: "words of the hint it must get"}}
    RIGHT  {"count_bigrams": (right_function, another_right_function)}

The words are a regular expression, searched in the hint without regard to case. An
animal differs from the right answer in one place.
"""
