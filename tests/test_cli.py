"""What a person types, and the one line they get for a mistake."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny
import torch

from minillm import checkpoint, cli, data, fast

QUICK = [
    *("--d_model", "24", "--n_heads", "4", "--n_kv_heads", "2", "--n_layers", "2"),
    *("--context_length", "13", "--steps", "12", "--warmup_steps", "2"),
    *("--batch_size", "6", "--eval_every", "6", "--checkpoint_every", "6"),
    *("--device", "cpu", "--learning_rate", "1e-2"),
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A corpus and a small run; copied by whoever changes it."""
    folder = tmp_path_factory.mktemp("trained")
    tiny.corpus(folder / "data" / "shakespeare")
    before = os.getcwd()
    os.chdir(folder)
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main(["train", "llama", *QUICK])
        assert ended.value.code == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def stand_in(trained, tmp_path, monkeypatch):
    """A copy of the trained folder, to stand in and to spoil."""
    shutil.copytree(trained, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def run(capsys, *words: str) -> str:
    """The output of a command that must succeed."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(words))
    out, err = capsys.readouterr()
    assert ended.value.code == 0, err
    return out


def mistake(capsys, *words: str) -> str:
    """The one line of a command that must fail."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(words))
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("minillm: error: ")]
    assert len(lines) == 1
    assert err.rstrip().endswith(lines[0])
    assert "Traceback" not in err
    return lines[0].removeprefix("minillm: error: ")


@contextmanager
def unwritable(kind: str):
    """A file that is full, or a pipe whose reader is gone."""
    if kind == "full":
        file = "/dev/full"
    else:
        reader, file = os.pipe()
        os.close(reader)
    with open(file, "w") as stream:
        yield stream


has_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
UNWRITABLE = [pytest.param("full", marks=has_full), "pipe"]


# ------------------------------------------------------------------ the verbs


def test_from_a_text_file_to_text(here, capsys):
    Path("mine.txt").write_text(tiny.TEXT)
    assert "tokens to train on" in run(capsys, "prepare", "mine.txt")
    assert "every file is" in run(capsys, "prepare", "--verify", "data/mine")
    out = run(capsys, "train", "llama", "--data", "data/mine", *QUICK)
    assert "step     12   train" in out
    out = run(capsys, "evaluate", "--device", "cpu")
    last = json.loads(Path("runs/llama/metrics.jsonl").read_text().splitlines()[-1])
    assert f"{last['val_loss']:.4f} nats per token" in out
    out = run(capsys, "generate", "--prompt", "Line 7", "--max-new-tokens", "21")
    assert out.startswith("Line 7")
    assert len(out) == len("Line 7") + 21 + 1


def test_token_files_of_another_program_are_trained_on(here, capsys):
    """`train --data nano` said: run minillm prepare; and prepare read them as text."""
    Path("nano").mkdir()
    for split in ("train", "val"):
        content = "".join(f"{c}\0" for c in tiny.TEXT[:3000])
        Path(f"nano/{split}.bin").write_text(content)
    for where in ("nano", "nano/train.bin"):
        line = mistake(capsys, "train", "--data", where)
        assert "--out nano/corpus --tokenizer gpt2 --dtype uint16" in line
    words = ["prepare", "nano/train.bin", "nano/val.bin", "--dtype", "uint16"]
    assert "must be gpt2 or bytes" in mistake(capsys, *words)
    assert "vocabulary 257 (bytes)" in run(capsys, *words, "--tokenizer", "bytes")
    assert "step     12" in run(capsys, "train", "--data", "data/nano", *QUICK)


@pytest.mark.parametrize("where", ["data/nano", "data/nano/train.bin"])
def test_the_advice_for_token_files_of_another_program_works(here, capsys, where):
    """It named no --out, and the one that is the default were the files themselves."""
    Path("data/nano").mkdir(parents=True)
    for split in ("train", "val"):
        content = "".join(f"{c}\0" for c in tiny.TEXT[:3000])
        Path(f"data/nano/{split}.bin").write_text(content)
    _, _, advice = mistake(capsys, "train", "--data", where).partition("minillm ")
    advice = advice.partition(",")[0].replace("gpt2", "bytes")  # gpt2 is downloaded
    assert "data/nano/corpus: 3,000 tokens" in run(capsys, *advice.split())


def test_the_advice_after_training_works_without_line_ends(here, capsys):
    """`generate` began with a new line, which this vocabulary does not have."""
    Path("mine.txt").write_text(tiny.TEXT.replace("\n", ""))
    run(capsys, "prepare", "mine.txt")
    out = run(capsys, "train", "llama", "--data", "data/mine", *QUICK)
    advice = out.partition("hear it with: minillm ")[2].split()
    assert run(capsys, *advice, "--seed", "3").startswith(" ")


def test_the_default_names_need_no_thought(stand_in, capsys):
    assert run(capsys, "generate", "--seed", "3").startswith("\n")
    assert "nats per token" in run(capsys, "evaluate")


def test_a_seed_repeats_a_text_with_and_without_the_cache(stand_in, capsys):
    words = ["generate", "--prompt", "Line", "--seed", "5", "--max_new_tokens", "40"]
    first = run(capsys, *words)
    assert run(capsys, *words) == first
    assert run(capsys, *words, "--no_cache") == first
    assert run(capsys, *words[:-3], "6", *words[-2:]) != first


def test_a_stop_string_ends_the_text(stand_in, capsys):
    words = ["generate", "--prompt", "Line 1", "--temperature", "0"]
    whole = run(capsys, *words)
    stop = whole[10:12]
    assert run(capsys, *words, "--stop", stop) == (
        whole[: 6 + whole[6:].index(stop)] + "\n"
    )


def test_an_export_can_speak_be_measured_and_exported_again(stand_in, capsys):
    """What `export` wrote was refused: "unknown key 'model_type'"."""
    run(capsys, "export", "--out", "hf")
    for words in (
        ["evaluate"],
        ["generate", "--seed", "5", "--max_new_tokens", "9"],
    ):
        assert run(capsys, *words[:1], "hf", *words[1:]) == run(capsys, *words)
    run(capsys, "export", "hf", "--out", "again")
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert Path("again", name).read_bytes() == Path("hf", name).read_bytes()
    Path("hf/minillm_tokenizer.json").unlink()
    assert "hf holds no minillm_tokenizer.json" in mistake(capsys, "generate", "hf")


def test_eight_bits_write_nearly_the_same(stand_in, capsys):
    words = ["generate", "--seed", "5", "--max_new_tokens", "9", "--temperature", "0"]
    text = run(capsys, *words, "--int8")
    assert len(text) == len(run(capsys, *words))


def test_a_package_speaks_when_it_is_asked_to(stand_in, capsys, monkeypatch):
    """Machine code is only run on demand; the folder is a checkpoint all the same."""
    steps = []

    def interpreted(tokens, *places):
        steps.append(places[0].shape[2])
        return step(tokens, *places)

    step = fast._Step(checkpoint.load(Path("runs/llama")).model)
    monkeypatch.setattr(
        fast, "_compile", lambda model, size, tune, path: path.write_bytes(b"code")
    )
    monkeypatch.setattr(fast, "_run", lambda path: interpreted)
    assert "--packaged" in run(capsys, "export", "--format", "aoti", "--out", "fast")
    steps.clear()
    words = ["--seed", "5", "--max_new_tokens", "9"]
    text = run(capsys, "generate", "runs/llama", *words)
    assert run(capsys, "generate", "fast", *words) == text
    assert steps == []
    assert run(capsys, "generate", "fast", "--packaged", *words) == text
    assert steps == list(range(2, 10))


def test_training_goes_on_where_it_was_told_to_stop(stand_in, capsys):
    shutil.rmtree("runs")
    run(capsys, "train", *QUICK)
    whole = checkpoint.find(Path("runs/llama"), "last").joinpath("model.safetensors")
    expected = whole.read_bytes()
    command = [
        sys.executable, "-m", "minillm", "train", *QUICK, "--out", "runs/killed",
        "--log_every", "1", "--steps", "100000",
    ]  # fmt: skip
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    metrics, deadline = Path("runs/killed/metrics.jsonl"), time.time() + 120
    while time.time() < deadline and not (
        metrics.exists() and metrics.read_text().count("\n") > 3
    ):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "Traceback" not in err
    assert "runs/killed holds a checkpoint: give the same command with --resume" in err
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert checkpoint.find(Path("runs/killed"), "last").name.endswith(f"{steps[-1]}")
    assert "differs" in mistake(
        capsys, "train", *QUICK, "--out", "runs/killed", "--resume"
    )
    assert expected == whole.read_bytes()


@pytest.mark.usefixtures("heard")
def test_the_advice_of_a_stopped_run_works(stand_in, capsys, monkeypatch):
    """--resume was to be added to a command with --overwrite, which excludes it."""
    with monkeypatch.context() as patch:
        patch.setattr(cli, "_row", lambda _: os.kill(os.getpid(), signal.SIGTERM) or "")
        with pytest.raises(SystemExit) as ended:
            cli.main(["train", *QUICK, "--overwrite"])
    assert ended.value.code == 128 + signal.SIGTERM
    advice = "give the same command with --resume in place of --overwrite"
    assert capsys.readouterr().err.rstrip().endswith(advice)
    assert "step     12" in run(capsys, "train", *QUICK, "--resume")


def test_a_told_end_of_prepare_leaves_nothing_behind(here):
    """SIGTERM ended it at once, with half a corpus under a hidden name."""
    Path("own.txt").write_text("a text\n" * 99)
    program = """
import os, signal
from minillm import cli, data

def write(folder, *_):
    (folder / "train.bin").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGTERM)

data._write = write
cli.main(["prepare", "own.txt", "--out", "data/own"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines() == ["minillm: interrupted"]
    assert done.returncode == 128 + signal.SIGTERM
    assert [path for path in Path("data").iterdir() if "own" in path.name] == []


@pytest.fixture
def heard():
    """Signals that a shell may have set to be ignored, for work in its background."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_and_the_second_does_not_wait(number):
    signals = cli._Signals()
    with cli._answering(cli._interrupt), cli._answering(signals.note):
        assert not signals.received()
        os.kill(os.getpid(), number)
        assert signals.received()
        assert signals.number == number
        with pytest.raises(KeyboardInterrupt) as interrupt:
            os.kill(os.getpid(), number)
        assert interrupt.value.args == (number,)


def test_nohup_is_respected():
    """A run was to go on after the terminal closes, and would stop."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with cli._answering(cli._interrupt):
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_in_the_middle_of_a_print_is_answered(tmp_path):
    """Its answer was printed to the stream that was just printing: RuntimeError."""
    program = """
import io, os, signal, sys
from minillm import cli

class Prints(io.RawIOBase):
    def writable(self):
        return True
    def write(self, content):
        if not signals.received():
            os.kill(os.getpid(), signal.SIGTERM)
        return len(content)

signals = cli._Signals()
sys.stderr = io.TextIOWrapper(io.BufferedWriter(Prints()), write_through=True)
with cli._answering(signals.note):
    print("a bar", file=sys.stderr, flush=True)
    print(signals.number)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == signal.SIGTERM
    assert done.stderr == cli.STOPPING + "\n"


def test_describe_prints_costs_without_pytorch_or_a_corpus(here, capsys):
    out = run(capsys, "describe", "gpt2", "--d_model", "96", "--on", "t4")
    assert "65 characters assumed" in out
    assert "blocks.feed_forward.up.weight" in out
    assert "on t4 at 40% of its peak" in out


@pytest.mark.parametrize(
    "sizes",
    [
        ("--d_model", str(2**50), "--n_heads", "2"),
        ("--n_layers", str(10**12), "--context_length", str(10**12)),
        ("--steps", str(2**53), "--batch_size", str(2**53), "--accumulate", str(2**53)),
        ("--d_ff", "1", "--d_model", "2", "--n_heads", "1", "--n_kv_heads", "1"),
        ("--learning_rate", "1e30", "--utilisation", "1e-300"),
    ],
)
def test_any_size_can_be_described(here, capsys, sizes):
    """Nothing is run, so nothing is too large, and no float overflows."""
    out = run(capsys, "describe", *sizes)
    assert "about" in out.splitlines()[-1]
    assert "nan" not in out


def test_a_size_that_no_machine_has_is_one_line(stand_in, capsys):
    """RuntimeError: Storage size calculation overflowed."""
    for flag, size in (("--d_ff", 2**53), ("--d_model", 4 * 10**14)):
        said = mistake(capsys, "train", *QUICK, flag, str(size), "--out", "huge")
        assert said.startswith("not enough memory: try a smaller")


def test_the_folder_of_a_dataset_has_no_colon():
    """Windows takes what follows a colon for another stream of the same file."""
    assert cli._corpus_folder(["hf:wikitext:wikitext-2"]) == Path(
        "data/wikitext-wikitext-2"
    )
    assert cli._corpus_folder(["hf:owner/name"]) == Path("data/name")
    assert cli._corpus_folder(["a:b.txt"]) == Path("data/a:b")


@pytest.mark.parametrize(("source", "name"), [("..", "mine"), (".", "sub")])
def test_a_corpus_is_called_after_the_folder_that_dots_mean(
    here, capsys, monkeypatch, source, name
):
    """`prepare ..` would have written data/.., which is the folder one is in."""
    Path("mine/sub").mkdir(parents=True)
    Path("mine/sub/text.txt").write_text(tiny.TEXT)
    monkeypatch.chdir("mine/sub")
    assert run(capsys, "prepare", source).startswith(f"data/{name}: ")
    assert data.Corpus(f"data/{name}").vocab_size


def test_describe_takes_the_vocabulary_of_the_prepared_corpus(stand_in, capsys):
    size = data.Corpus("data/shakespeare").vocab_size
    assert f"{size} x 96" in run(capsys, "describe")


def test_describe_says_that_a_manifest_is_damaged(stand_in, capsys):
    """ "No corpus prepared", said of one that is."""
    for content in ('{"vocab_size": "many"}', "{", "{}"):
        Path("data/shakespeare/meta.json").write_text(content)
        out = run(capsys, "describe")
        assert "data/shakespeare/meta.json is damaged: 65 characters assumed" in out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.034, "0.034 s"), (3.4, "3.4 s"), (90, "1.5 min"), (5400, "1.5 h")],
)
def test_a_time_has_the_unit_that_shows_it(seconds, text):
    """Every preset took "0.0 min" on a GPU."""
    assert cli._time(seconds) == text


def test_a_preset_warms_up_no_longer_than_a_short_run(stand_in, capsys):
    """`train llama --steps 5` was refused for a number that nobody had typed."""
    short = ["train", "--steps", "5", "--out", "x", "--context_length", "13"]
    short += ["--device", "cpu"]
    assert "5 steps (4 of warm-up)" in run(capsys, *short)
    assert "warmup_steps (7) must be in [0, steps=5)" in mistake(
        capsys, *short, "--warmup_steps", "7"
    )
    assert "steps (0) must be positive" in mistake(capsys, "train", "--steps", "0")


def test_python_m_hands_over_to_the_same_command(stand_in):
    for words in (
        ["minillm.generate", "--seed", "1", "--max_new_tokens", "5"],
        ["minillm", "generate", "--seed", "1", "--max_new_tokens", "5"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *words], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith("\n")
        assert done.stderr == ""


def test_help_is_quick_and_does_not_wait_for_pytorch():
    """`--help` took as long as importing PyTorch: seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for words in (["--help"], ["train", "--help"]):
        command = [sys.executable, "-X", "importtime", "-m", "minillm", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        modules = {line.rpartition("|")[2].strip() for line in done.stderr.split("\n")}
        assert not modules & {"torch", "numpy", "tiktoken", "tqdm", "safetensors"}
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 2  # a sanity bound; the benchmark measures


@pytest.mark.parametrize("words", [["--help"], ["describe"]], ids=lambda w: w[0])
def test_nothing_needs_docstrings(here, words):
    """With PYTHONOPTIMIZE=2 there are none: IndexError, whatever the verb."""
    command = [sys.executable, "-OO", "-m", "minillm", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(("usage: minillm", "llama"))


def test_help_explains_every_field_in_the_words_of_config(capsys):
    out = " ".join(run(capsys, "train", "--help").split())
    assert "--n_kv_heads N Key/value heads; 0 means n_heads" in out
    assert "--optimizer {adamw,muon}" in out


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["generate", "--prompt", "--my good-o lord"], "prompt", "--my good-o lord"),
        (["generate", "--prompt=--my-lord"], "prompt", "--my-lord"),
        (["generate", "--prompt", "-x"], "prompt", "-x"),
        (["generate", "--prompt", "well-met"], "prompt", "well-met"),
        (["generate", "--prompt", "--"], "prompt", "--"),
        (["generate", "--stop", "--"], "stop", ["--"]),
        (["generate", "--stop=--"], "stop", ["--"]),
        (["generate", "--stop", "--a-b", "--stop", "c"], "stop", ["--a-b", "c"]),
        (["generate", "--stop", "--", "my-run"], "run", Path("my-run")),
        (["generate", "--", "--my-run"], "run", Path("--my-run")),
        (["generate", "--temperature", "-1"], "temperature", -1.0),
        (["generate", "--max-new", "7"], "max_new_tokens", 7),
        (["generate", "--max-new-tokens=7"], "max_new_tokens", 7),
        (["generate", "--prompt", "train", "--top-k", "3"], "top_k", 3),
        (["train", "--out", "my-run", "--n-heads", "4"], "out", Path("my-run")),
        (["evaluate", "--data", "--odd-name"], "data", Path("--odd-name")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_value_is_passed_on_as_it_was_typed(words, name, value):
    """`--prompt "--my dear-heart lord"` became "--my_dear_heart lord", or an error."""
    parser, known = cli._parser(words)
    assert getattr(parser.parse_args(cli._spelled(words, known)), name) == value


# ------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "argument VERB: invalid choice: 'trian'"),
        ([], "the following arguments are required: VERB"),
        (["prepare"], "name a source: shakespeare, a file or a folder"),
        (["prepare", "nowhere.txt"], "nowhere.txt"),
        (["prepare", "empty.txt"], "empty.txt"),
        (["prepare", "short.txt"], "short.txt"),
        (["prepare", "latin1.txt"], "latin1.txt"),
        (
            ["prepare", "mine.txt", "--tokenizer", "words"],
            "tokenizer ('words') must be chars, bytes",
        ),
        (["prepare", "mine.txt", "--tokenizer", "bpe:12"], "12"),
        (["prepare", "mine.txt", "--val_fraction", "2"], "val_fraction (2.0) must be"),
        (["prepare", "mine.txt", "--workers", "0"], "workers (0) must be"),
        (["prepare", "mine.txt", "--out", "mine.txt/x"], "mine.txt"),
        (["prepare", "--verify", "nowhere"], "nowhere"),
        (["train", "lama"], "unknown preset 'lama'; known presets are bigram, gpt2"),
        (["train", "nowhere.toml"], "nowhere.toml does not exist"),
        (["train", "llama", "--data", "nowhere"], "nowhere"),
        (["train", "llama"], "minillm prepare"),
        (["train", "--n_heads", "5"], "d_model (96) must be a multiple of n_heads (5"),
        (
            ["train", "--n_heads", "four"],
            "argument --n_heads: invalid int value: 'four",
        ),
        (
            ["train", "--bias", "maybe"],
            "argument --bias: 'maybe' must be true or false",
        ),
        (["train", "--norm", "batch"], "norm ('batch') must be one of layernorm, rms"),
        (["train", "--heads", "4"], "unrecognized arguments: --heads"),
        (["train", "--resume", "--overwrite"], "not allowed with argument --resume"),
        (["generate", "nowhere"], "nowhere does not exist"),
        (["generate"], "runs/llama does not exist"),
        (["generate", "--top_p", "0"], "top_p (0.0) must be in (0, 1]"),
        (
            ["generate", "--temperature", "-1"],
            "temperature (-1.0) must be a finite num",
        ),
        (["generate", "--seed", "-1"], "seed (-1) must be in [0, 2**32)"),
        (["generate", "--seed", str(2**70)], f"seed ({2**70}) must be in [0, 2**32)"),
        (["train", "--seed", "-1"], "seed (-1) must be in [0, 2**32)"),
        (["generate", "--top-k", "0"], "top_k (0) must be at least 1"),
        (
            ["generate", "--prompt", "--seed", "3"],
            "argument --prompt: expected one argument; a value that begins with - is"
            " joined to it: --prompt=--",
        ),
        (["generate", "--top-q", "3"], "unrecognized arguments: --top-q"),
        (["generate", "--device", "tpu"], "device (tpu) is not available here"),
        (["generate", "--device", "cpu:"], "device (cpu:) must be cpu"),
        (["prepare", ""], "argument source: '' must hold at least one character"),
        (["prepare", "mine.txt", "--out", ""], "argument --out: '' must hold"),
        (["prepare", "--verify="], "argument --verify: '' must hold"),
        (["train", "--out", ""], "argument --out: '' must hold"),
        (["train", "--data", ""], "argument --data: '' must hold"),
        (["evaluate", "--data", ""], "argument --data: '' must hold"),
        (["generate", ""], "argument run: '' must hold"),
        (["export", "--out="], "argument --out: '' must hold"),
        (["evaluate", "."], "holds no checkpoint: no model.safetensors"),
        (["describe", "--on", "abacus"], "unknown device 'abacus'; known devices are"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_gets_one_line_with_the_name_and_the_rule(
    here, capsys, words, message
):
    Path("mine.txt").write_text(tiny.TEXT)
    Path("empty.txt").write_text("")
    Path("short.txt").write_text("a")
    Path("latin1.txt").write_bytes(b"caf\xe9 " * 100)
    before = set(Path().rglob("*"))
    assert message in mistake(capsys, *words)
    # an empty data/ may stay: who removed it could remove it under another's hands
    left = set(Path().rglob("*")) - before - {Path("data")}
    assert not left, "a failed command leaves nothing behind"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "--prompt", "Zürich"], "'Z'"),
        (["generate", "--prompt", ""], "prompt ('') must hold at least one character"),
        (["generate", "--max_new_tokens", "-3"], "max_new_tokens (-3) must not be neg"),
        (["generate", "--stop", ""], "stop ('') must not be an empty string"),
        (["train", *QUICK], "runs/llama holds a run already; resume it, overwrite it"),
        (["train", "--vocab_size", "99", "--out", "x", *QUICK], "vocab_size (99) must"),
        (
            ["train", "--out", "x", "--context_length", "99999"],
            "context_length (99999)",
        ),
        (["train", "--out", "config.txt", *QUICK], "config.txt must be a folder"),
        (["export", "--out", "."], "exists already"),
        (["export", "--format", "aoti", "--out", "."], "exists already"),
        (
            ["generate", "--packaged"],
            "runs/llama holds no decoder.pt2; make one with: minillm export",
        ),
        (
            ["generate", "--packaged", "--int8"],
            "--int8 cannot be used with --packaged",
        ),
        (
            ["generate", "--packaged", "--device", "cuda"],
            "device (cuda) must be cpu with --packaged",
        ),
    ],
    ids=lambda value: " ".join(value[:4]) if isinstance(value, list) else "",
)
def test_a_mistake_with_a_trained_run_is_told_and_loses_nothing(
    stand_in, capsys, words, message
):
    Path("config.txt").write_text("mine")
    kept = checkpoint.find(Path("runs/llama")).joinpath("model.safetensors")
    before = kept.read_bytes()
    assert message in mistake(capsys, *words)
    assert kept.read_bytes() == before
    assert Path("config.txt").read_text() == "mine"


def spoil(path: str, change) -> None:
    content = Path(path).read_bytes()
    Path(path).write_bytes(change(content))


@pytest.mark.parametrize(
    ("harm", "words", "message"),
    [
        (
            lambda: spoil("data/shakespeare/train.bin", lambda b: b[:-1]),
            ["train"],
            "tr",
        ),
        (lambda: spoil("data/shakespeare/val.bin", lambda b: b[:-2]), ["train"], "val"),
        (
            lambda: Path("data/shakespeare/meta.json").unlink(),
            ["train", "--out", "x"],
            "minillm prepare",
        ),
        (
            lambda: tiny.corpus(Path("data/other"), tiny.TEXT.upper()),
            ["evaluate", "--data", "data/other"],
            "was prepared with another tokenizer than runs/llama",
        ),
        (
            lambda: spoil(
                str(checkpoint.find(Path("runs/llama")) / "model.safetensors"),
                lambda b: b[: len(b) // 2],
            ),
            ["generate"],
            "cut short or changed",
        ),
        (
            lambda: (
                torch.save({}, Path("runs/llama/model.pt"))
                or shutil.rmtree("runs/llama/checkpoints")
            ),
            ["generate"],
            "may be a pickle",
        ),
    ],
    ids=["odd .bin", "short .bin", "no manifest", "swapped", "cut short", "pickle"],
)
def test_a_damaged_file_is_named_in_one_line(stand_in, capsys, harm, words, message):
    harm()
    assert message in mistake(capsys, *words)


@pytest.mark.parametrize("writes", [0, 4, 9], ids=["begin", "metrics", "checkpoint"])
def test_a_full_disk_is_said_and_leaves_the_last_checkpoint(
    stand_in, capsys, monkeypatch, writes
):
    """Only "No space left on device": where, and what now?"""
    before = checkpoint.find(Path("runs/llama"), "last")
    content = (before / "model.safetensors").read_bytes()
    sync, left = os.fsync, [None] * writes

    def full(descriptor):
        if not left:
            raise OSError(28, "No space left on device")
        left.pop()
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr("minillm.files.sync_folder", lambda _: None)
    monkeypatch.setattr("minillm.run.sync_folder", lambda _: None)
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "--out", "runs/new", *QUICK])
    assert ended.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("minillm: error: runs/new/")
    assert line.endswith("No space left on device; free some space, or choose another"
        " folder")  # fmt: skip
    assert ".tmp" not in line
    assert (before / "model.safetensors").read_bytes() == content


@pytest.mark.parametrize(
    "words",
    [
        ["prepare", "mine.txt", "--out", "mine.txt/x"],
        ["train", "--out", "mine.txt/x", *QUICK],
        ["export", "--out", "mine.txt/x"],
    ],
    ids=lambda words: words[0],
)
def test_a_folder_that_cannot_be_made_is_named_with_advice(stand_in, capsys, words):
    """`.x.lock: Not a directory` names a file that the user never asked for."""
    Path("mine.txt").write_text(tiny.TEXT)
    line = mistake(capsys, *words)
    assert line.startswith("mine.txt/x: ")
    assert line.endswith("a file is where a folder should be: choose another folder")


def allocate(*_arguments, **_options):
    torch.empty(2**50)


def lack(*_arguments, **_options):
    raise MemoryError


def cuda_lack(*_arguments, **_options):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def lack_for_a_library(*_arguments, **_options):
    raise ImportError("a.so: failed to map segment from shared object")


@pytest.mark.parametrize("fail", [allocate, lack, cuda_lack, lack_for_a_library])
def test_too_little_memory_is_one_line_with_advice(stand_in, capsys, monkeypatch, fail):
    """A batch too large for the machine ended in thirty lines of traceback."""
    monkeypatch.setattr("minillm.train.train", fail)
    line = mistake(capsys, "train", "--out", "x", *QUICK)
    assert line.startswith("not enough memory: try a smaller batch_size")
    monkeypatch.setattr("minillm.complete.complete", fail)
    assert "not enough memory for this model" in mistake(capsys, "generate")


def test_a_thread_that_cannot_start_is_one_line(here, capsys, monkeypatch):
    """A limit on processes (ulimit -u) ended in a traceback out of the thread pool."""

    def submit(*_arguments):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("minillm.data.ThreadPoolExecutor.submit", submit)
    Path("own.txt").write_text("A text of our own.\n" * 9)
    line = mistake(capsys, "prepare", "own.txt", "--out", "x")
    assert line == "x: can't start new thread; end other programs, or use fewer workers"
    assert not Path("x").exists()


class PanicException(BaseException):
    """As the one that Rust's libraries raise."""


@pytest.mark.parametrize(
    ("function", "words"), [("load_bytes", ("generate",)), ("save_bytes", ("export",))]
)
def test_a_panic_where_memory_ends_is_one_line(
    stand_in, capsys, monkeypatch, function, words
):
    """safetensors panics if Python has no memory; ``except Exception`` missed it."""

    def panic(*_arguments, **_options):
        raise PanicException("PyObject pointer is null")

    monkeypatch.setattr(f"minillm.checkpoint.{function}", panic)
    assert "not enough memory for this model" in mistake(capsys, *words)


def test_preparing_without_memory_blames_no_model(here, capsys, monkeypatch):
    monkeypatch.setattr("minillm.data.prepare", lack)
    line = mistake(capsys, "prepare", "own.txt")
    assert line == "not enough memory to prepare this text: try fewer workers"


def test_a_line_of_an_error_is_printable_whatever_a_file_is_called(here, capsys):
    """The name of a downloaded file cleared the terminal."""
    Path("texts").mkdir()
    Path("texts/\x1b[2J\u202e.txt").write_bytes(b"\xff")
    line = mistake(capsys, "prepare", "texts")
    assert line.startswith("texts/\\x1b[2J\\u202e.txt must be UTF-8")


def test_another_runtime_error_is_not_hidden(stand_in, monkeypatch):
    """A bug of ours must not pass for a mistake of theirs."""

    def fail(*_arguments, **_options):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr("minillm.train.train", fail)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        cli.main(["train", "--out", "x", *QUICK])


WHOLE_WAY = """
import sys, warnings
from minillm import cli
warnings.filterwarnings("error", category=EncodingWarning, module="minillm")
name = sys.argv[1]
for words in (
    ["prepare", f"./{name}.txt", "--out", f"./{name}"],
    ["prepare", "--verify", f"./{name}"],
    ["train", f"./{name}.toml", "--data", f"./{name}", "--out", f"./{name} run"],
    ["train", f"./{name}.toml", "--data", f"./{name}", "--out", f"./{name} run",
     "--resume"],
    ["evaluate", f"./{name} run"],
    ["generate", f"./{name} run", "--max_new_tokens", "3"],
    ["export", f"./{name} run", "--out", f"./{name} out"],
    ["generate", f"./{name} out", "--max_new_tokens", "3"],
    ["prepare", f"./{name}.txt", "--out", f"./{name}", "--overwrite"],
):
    try:
        cli.main(words)
    except SystemExit as ended:
        assert ended.code == 0, words
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no such name")
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_name_may_be_anything_and_a_file_has_one_encoding(tmp_path, encoding):
    """And no file is opened in the encoding of whoever runs the command."""
    odd = "-Zürich – «naïve» '空白' 100%s {x}\n\\".encode() + b"\xff" + b"x" * 150
    here = tmp_path / os.fsdecode(odd)
    here.mkdir()
    name = os.fsdecode(odd)
    (here / f"{name}.txt").write_text(tiny.TEXT, encoding="utf-8")
    (here / f"{name}.toml").write_text(
        "[model]\nn_layers = 1\nn_heads = 2\nd_model = 8\ncontext_length = 9\n"
        "[train]\nsteps = 2\nwarmup_steps = 0\nbatch_size = 2\ndevice = 'cpu'\n",
        encoding="utf-8",
    )
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-c", WHOLE_WAY, name],
        cwd=here,
        env={**os.environ, **(plain if encoding == "ascii" else {})},
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_terminal_without_the_character_is_no_error(stand_in):
    """'ascii' codec can't encode character, instead of the text."""
    Path("é.txt").write_text("é" * 400, encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LANG": "C"}
    for words in (
        ("prepare", "é.txt"),
        ("train", "gpt2", "--data", "data/é", *QUICK, "--n_kv_heads", "4"),
        ("generate", "runs/gpt2", "--prompt", "é", "--max_new_tokens", "3"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "minillm", *words],
            env=environment,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout == rb"\xe9\xe9\xe9\xe9" + os.linesep.encode()


def test_a_model_whose_loss_is_no_number_is_said_to_have_diverged(stand_in, capsys):
    """Its weights are finite, and what they lead to is not."""
    kept = checkpoint.load(Path("runs/llama"))
    kept.model.norm.weight.data.fill_(3e38)
    Path("huge").mkdir()
    checkpoint.write_model(Path("huge"), kept.config, kept.model, kept.tokenizer)
    said = mistake(capsys, "evaluate", "huge", "--device", "cpu")
    assert said == "loss (nan) of huge is no number: it has diverged"


def test_a_reader_that_has_enough_is_no_error(stand_in):
    command = f"{sys.executable} -m minillm generate --seed 1 | head -c 5"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)  # noqa: S602
    assert done.stderr == ""


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("kind", UNWRITABLE)
@pytest.mark.parametrize(
    "words", [["describe"], ["train", "--help"], ["--version"]], ids=" ".join
)
def test_an_output_that_cannot_be_written_is_one_line(here, words, kind, unbuffered):
    """It failed as Python ended: "Exception ignored", two lines more, exit code 120."""
    with unwritable(kind) as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "minillm", *words],
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
    if kind == "full":
        line = "minillm: error: standard output: No space left on device\n"
        assert (done.stderr, done.returncode) == (line, 2)
    else:  # whoever closes a pipe has read enough
        assert (done.stderr, done.returncode) == ("", 0)


@has_full
@pytest.mark.parametrize("verb", ["evaluate", "generate"])
def test_a_text_that_nobody_can_keep_is_one_line(stand_in, capsys, monkeypatch, verb):
    with unwritable("full") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        line = mistake(capsys, verb)
        stdout.flush()  # as Python does when it ends
    assert line == "standard output: No space left on device"


@pytest.mark.parametrize("by_line", [False, True], ids=["blocks", "lines"])
@pytest.mark.parametrize("kind", UNWRITABLE)
def test_training_goes_on_though_nobody_reads(
    stand_in, capsys, monkeypatch, kind, by_line
):
    """`train | head -1` ended after the first step, with exit code 0."""
    with unwritable(kind) as stdout, monkeypatch.context() as patch:
        stdout.reconfigure(line_buffering=by_line)
        patch.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit) as ended:
            cli.main(["train", *QUICK, "--out", "x"])
        stdout.flush()
    reason = "No space left on device" if kind == "full" else "Broken pipe"
    assert capsys.readouterr().err == (
        f"minillm: standard output: {reason}; nothing more is printed, and the run in x"
        " is not stopped\n"
    )
    assert ended.value.code == 0
    assert checkpoint.find(Path("x"), "last").name.endswith("12")


@pytest.mark.parametrize("kind", UNWRITABLE)
def test_a_run_that_is_whole_has_not_failed_for_its_last_line(
    stand_in, capsys, monkeypatch, kind
):
    monkeypatch.setattr("minillm.train.train", lambda *_, **__: None)
    with unwritable(kind) as stdout, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit) as ended:
            cli.main(["train", *QUICK, "--out", "x"])
    assert ended.value.code == 0
    assert "the run in x is not stopped" in capsys.readouterr().err


@pytest.mark.parametrize("kind", UNWRITABLE)
def test_an_error_that_nobody_hears_keeps_its_exit_code(kind):
    """It was 120 in place of 2."""
    with unwritable(kind) as stderr:
        command = [sys.executable, "-m", "minillm", "trian"]
        environment = {**os.environ, "PYTHONUNBUFFERED": ""}
        done = subprocess.run(command, env=environment, stderr=stderr)
    assert done.returncode == 2


def closed(streams: str, *words: str):
    """What Python does with ``words`` if the shell closes ``streams`` before."""
    return subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {streams}', sys.executable, *words],
        capture_output=True,
        text=True,
    )


def test_an_error_is_not_told_to_whoever_reads_the_output():
    """Without a standard error, Python prints it to standard output."""
    done = closed("2>&-", "-m", "minillm", "trian")
    assert (done.stdout, done.returncode) == ("", 2)


@pytest.mark.parametrize("streams", ["2>&-", "<&- >&- 2>&-"])
def test_a_command_works_without_standard_streams(here, streams):
    """AttributeError: 'NoneType' object has no attribute 'write', out of the bar."""
    Path("mine.txt").write_text(tiny.TEXT)
    done = closed(streams, "-m", "minillm", "prepare", "mine.txt")
    assert (done.stderr, done.returncode) == ("", 0)
    assert data.Corpus("data/mine").vocab_size


@pytest.mark.parametrize("streams", ["<&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_gets_the_number_of_a_standard_stream(here, streams):
    """The next one that was opened became standard error, and signals wrote into it."""
    program = """
import os
from minillm import cli

cli._open_streams()
with open("said", "w") as file:
    print(file.fileno(), *map(os.get_inheritable, range(3)), file=file)
"""
    assert closed(streams, "-c", program).returncode == 0
    number, *inherited = Path("said").read_text().split()
    assert int(number) > 2
    assert inherited == ["True"] * 3


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a\n  b\tc"), "a b c"),
        (OSError(2, "No such file", "a\nb"), "a b: No such file"),
        (ValueError("x\x1b[31m\0"), r"x\x1b[31m\x00"),
        (ValueError("d\ud800"), r"d\ud800"),
    ],
)
def test_an_error_is_a_line_that_a_terminal_can_show(error, line):
    """A file's name with a line end in it made two lines of an error."""
    assert cli.one_line(error) == line


def test_a_line_that_repeats_a_long_value_is_shortened():
    """A damaged file of a megabyte came back on the screen."""
    line = cli.one_line(ValueError(f"begin {'x' * 10_000} end"))
    assert len(line) < 520
    assert line.startswith("begin x")
    assert line.endswith("x end")


@pytest.mark.parametrize("word", ["--x\x0c3", "--x\x1b[2J", "--x\n--y", ""])
def test_a_word_that_is_not_understood_is_said_in_a_line(capsys, word):
    """A form feed made two lines of it, and an escape sequence cleared the screen."""
    line = mistake(capsys, "describe", "llama", word)
    assert line.isprintable()
    assert "unrecognized arguments" in line
