"""A program that answers nothing is quick."""

import pytest

from benchmarks.harness import Usage
from benchmarks.startup import MODEL, PROMPT, Program, programs


def test_a_program_must_print_what_it_is_started_for():
    """An empty answer, or the prompt alone, was measured as the first token."""
    code = f"print({PROMPT!r}, end='')"
    with pytest.raises(SystemExit, match="must print"):
        Program(("-c", code), rf"^{PROMPT}[^\n]")()
    good = Program(("-c", code + ";print('O')"), rf"^{PROMPT}[^\n]")
    assert good() == good.taken[0].cpu_seconds > 0


def test_rounds_that_warm_up_do_not_count():
    """The first of them compiles every module."""
    program = Program(())
    program.taken = [Usage(9, 9, 90), Usage(1, 2, 30), Usage(3, 4, 50)]
    row = program.row("some", rounds=2)
    assert (row["cpu_seconds"], row["peak_mebibytes"]) == (3, 40)


def test_what_is_started_exists():
    """A name that argparse or the book no longer knows costs the whole run."""
    assert (MODEL / "model.safetensors").is_file()
    some = {name: one for group in programs(1).values() for name, one in group.items()}
    some["minillm --help"]()
    some["minillm describe llama"]()
    some["minillm train --help"]()
