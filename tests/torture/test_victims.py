"""Whoever judges the attacks is judged first."""

import os
import signal
import time

import pytest

from torture import victims
from torture.victims import Call, Outcome


def fail(how):
    if how == "hang":
        time.sleep(60)
    elif how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "raise":
        raise RuntimeError("a bug")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return victims.corpus(tmp_path_factory.mktemp("here"))


def test_a_command_that_works_has_no_fault(here):
    done = victims.call("describe", folder=here)
    assert done.code == 0
    assert done.fault is None
    assert "parameters" in done.out or "parameter" in done.out


def test_a_mistake_is_one_line_and_no_fault(here):
    done = victims.call("generate", "nowhere", folder=here)
    assert done.code == 2
    assert done.fault is None
    assert done.err.startswith("minillm: error: ")


@pytest.mark.parametrize(
    ("how", "fault"),
    [("hang", "it hung"), ("die", "signal 9"), ("raise", "a traceback")],
)
def test_what_goes_wrong_is_a_fault(here, how, fault):
    """A judge that lets a crash pass would find that we survive everything."""
    done = Call(["describe"], here, before=[(fail, (how,))]).wait(
        2 if how == "hang" else 60
    )
    assert fault in done.fault


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(1, "", "minillm: error: a\n"),
        Outcome(2, "", ""),
        Outcome(2, "", "minillm: error: a\nmore\n"),
        Outcome(2, "", "a.py:9: UserWarning: b\nminillm: error: a\n"),
        Outcome(0, "", "a.py:9: UserWarning: b\n"),
        Outcome(2, "", "minillm: error: a\nminillm: error: b\n"),
    ],
)
def test_neither_success_nor_one_line_is_a_fault(outcome):
    assert outcome.fault is not None
