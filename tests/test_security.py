"""No door stands open: in the code, in the files that are kept, in the tests.

What ruff forbids (``pyproject.toml``: S and the banned names) is not repeated here, but
that it forbids it is.
"""

import re
import runpy
import socket  # noqa: TID251 -- to see that it cannot reach far
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

if not (ROOT / "constraints.txt").exists():
    pytest.skip("these are rules of the whole course", allow_module_level=True)

needs_repository = pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="this copy is not a git repository"
)


# What the code may not do


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("import pickle\n", "TID251"),
        ("from joblib import load\n\nload('a')\n", "TID251"),
        ("import torch\n\ntorch.load('a.pt', weights_only=False)\n", "TID251"),
        ("import numpy as np\n\nnp.load('a.npy', allow_pickle=True)\n", "TID251"),
        ("import socket\n", "TID251"),
        ("from urllib.request import urlopen\n", "TID251"),
        ("eval('1')\n", "S307"),
        ("exec('1')\n", "S102"),
        ("import subprocess\n\nsubprocess.run('ls', shell=True)\n", "S602"),
        ("import os\n\nos.system('ls')\n", "S605"),
        ("import tarfile\n\ntarfile.open('a').extractall()\n", "S202"),
        ("import tempfile\n\ntempfile.mktemp()\n", "S306"),
        ("import yaml\n\nyaml.load('a')\n", "S506"),
    ],
)
@pytest.mark.parametrize("where", ["minillm/new.py", "torture/new.py", "tests/new.py"])
def test_the_lint_forbids_what_runs_foreign_code(code, rule, where):
    """A rule that is dropped from the list would be missed by nobody."""
    command = [sys.executable, "-m", "ruff", "check", "--output-format", "concise"]
    done = subprocess.run(
        [*command, "--stdin-filename", where, "-"],
        input=code,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert f" {rule} " in done.stdout


def test_the_package_makes_no_exception():
    """A ``noqa`` would open what the lint has closed."""
    for path in sorted((ROOT / "minillm").rglob("*.py")):
        assert not re.search(r"noqa.*\b(S\d|TID251)", path.read_text(encoding="utf-8"))


# What the tests may not do


def shout(address):
    with socket.socket(type=socket.SOCK_DGRAM) as one:
        one.sendto(b"a", address)


@pytest.mark.parametrize(
    "reach",
    [
        lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
        lambda: socket.getaddrinfo("example.org", 80),
        lambda: shout(("192.0.2.1", 9)),
    ],
)
def test_no_test_reaches_another_machine(reach):
    """A test that needs a network fails where there is none."""
    with pytest.raises(RuntimeError, match="tests and notebooks make none"):
        reach()
    shout(("127.0.0.1", 9))
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


def test_no_notebook_reaches_another_machine(monkeypatch):
    """The kernels that run the chapters, and what those start, begin with a guard."""
    monkeypatch.syspath_prepend(str(ROOT / "book" / "tools"))
    monkeypatch.setenv("PYTHONPATH", "")  # to be put back afterwards
    for name in ("OMP_NUM_THREADS", "PYTHONHASHSEED", "MPLBACKEND"):
        monkeypatch.setenv(name, "0")
    import notebook_kernel

    notebook_kernel.prepare_environment()
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "tests and notebooks make none" in done.stderr


# What the files may not hold

SECRETS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a key of AWS": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a token of GitHub": r"\b(?:gh[pousr]_[0-9A-Za-z]{36}|github_pat_\w{22,})",
    "a token of GitLab": r"\bglpat-[\w-]{20}",
    "a token of Hugging Face": r"\bhf_[0-9A-Za-z]{30,}",
    "a key of OpenAI or Anthropic": r"\bsk-(?:ant-|proj-)?[\w-]{32,}",
    "a key of Google": r"\bAIza[\w-]{35}",
    "a token of Slack": r"\bxox[abprs]-[\w-]{10,}",
    "a token of PyPI": r"\bpypi-AgE[\w-]{20,}",
    "a token of npm": r"\bnpm_[0-9A-Za-z]{36}",
    "a key of Weights & Biases": r"WANDB_API_KEY\s*[=:]\s*[0-9a-f]{40}",
    "a JSON web token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    "a password in an address": r"\w+://(?!name:|x-access-token:t0k3n)[^/\s:@\"'<>{}]+:[^/\s:@\"'<>{}]+@[\w.-]+",
    "a path of somebody's machine": r"(?<![\w./])/(?:root|home|Users)/[a-z]\w*/",
}
"""Shapes that mean one thing only; what looks random may be a checksum."""


def secrets(text: str) -> list[str]:
    """What a text gives away."""
    return [name for name, shape in SECRETS.items() if re.search(shape, text)]


@needs_repository
def test_no_file_holds_a_secret():
    """A token in a notebook's output is public from the first push on."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    names = listed.stdout.split("\0")[:-1]
    assert len(names) > 100
    found = {}
    for name in names:
        path = ROOT / name
        if path.is_file():  # not, if it was removed and that is not committed yet
            told = secrets(path.read_bytes().decode(errors="replace"))
            if told:
                found[name] = told
    assert found == {}


@pytest.mark.parametrize(
    ("halves", "name"),
    [
        (("-----BEGIN RSA PRI", "VATE KEY-----"), "a private key"),
        (("AK", "IA" + "Q7" * 8), "a key of AWS"),
        (("export TOKEN=gh", "p_" + "aB3" * 12), "a token of GitHub"),
        (("gl", "pat-" + "aB3_" * 5), "a token of GitLab"),
        (("h", "f_" + "aB3" * 12), "a token of Hugging Face"),
        (("s", "k-proj-" + "aB3_" * 12), "a key of OpenAI or Anthropic"),
        (("AI", "za" + "aB3-5" * 7), "a key of Google"),
        (("xo", "xb-1234567890-abc"), "a token of Slack"),
        (("py", "pi-AgE" + "aB3" * 12), "a token of PyPI"),
        (("np", "m_" + "aB3" * 12), "a token of npm"),
        (("WANDB_API", "_KEY=" + "a1" * 20), "a key of Weights & Biases"),
        (("ey", "J" + "a" * 20 + ".ey" + "J" + "b" * 20 + "." + "c" * 20), "a JSON"),
        (("pip --index-url=https://me:pass", "word@example.org/simple"), "a password"),
        (("/ho", "me/somebody/minillm/data"), "a path of somebody's machine"),
    ],
)
def test_a_planted_secret_is_found(halves, name):
    """A search that finds nothing may be a search that can find nothing."""
    (found,) = secrets(f'  "text": "{"".join(halves)}"\n')
    assert found.startswith(name)


# What is installed


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ("", 0, "NOT RUN"),
        ('{"dependencies": [{"name": "a", "skip_reason": "none"}]}', 0, "NOT RUN"),
        (
            '{"dependencies": [{"name": "a", "version": "1", "vulns": []},'
            ' {"name": "b", "skip_reason": "none"}]}',
            *(0, "audit: 1 of 2 packages asked about"),
        ),
        (
            '{"dependencies": [{"name": "a", "version": "1", "vulns":'
            ' [{"id": "PYSEC-1"}]}]}',
            *(1, "audit: a 1: PYSEC-1"),
        ),
    ],
)
def test_an_audit_that_could_not_ask_says_so(answer, code, said):
    """Nobody was asked, nothing was found: that is not the same as nothing known."""
    summary = runpy.run_path(str(ROOT / ".ci" / "audit.py"))["summary"]
    found, text = summary(answer)
    assert found == code
    assert said in text


def test_the_lock_names_plain_released_versions():
    """A version that was never released, or comes from a branch, cannot be audited."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    for line in lines:
        if not line.startswith("#"):
            assert re.fullmatch(r"[\w.-]+==\d+(\.\d+)*(\.post\d+)?", line), line


def test_what_is_installed_fits_together():
    """pip installs what contradicts itself, and only says so."""
    if not any(one.metadata["Name"] == "pip" for one in distributions()):
        pytest.skip("pip is not installed")
    command = [sys.executable, "-m", "pip", "check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
