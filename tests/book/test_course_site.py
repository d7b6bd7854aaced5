"""The build takes from its surroundings what it should, and invents nothing."""

import json
import subprocess
from types import SimpleNamespace

import course_site
import pytest
from colab_cell import CELL, as_lines


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/a/b.git", "https://github.com/a/b"),
        ("https://github.com/a/b.git/", "https://github.com/a/b"),
        ("  https://github.com/a/b\n", "https://github.com/a/b"),
        ("git@github.com:a/b.git", "https://github.com/a/b"),
        ("ssh://git@github.com/a/b.git", "https://github.com/a/b"),
        ("ssh://git@example.org:2222/a/b.git", "https://example.org/a/b"),
        ("https://name:to@ken@github.com/a/b.git", "https://github.com/a/b"),
        ("https://x-access-token:t0k3n@github.com/a/b", "https://github.com/a/b"),
        ("http://localhost:3000/a/b", "http://localhost:3000/a/b"),
        ("https://gitlab.com/a/b/c.git", "https://gitlab.com/a/b/c"),
        ("https://github.com/a/b?x=1#y", "https://github.com/a/b"),
        ("https://github.com/", None),
        ("/srv/git/course.git", None),
        ("../course", None),
        ("file:///srv/git/course.git", None),
        ("", None),
    ],
)
def test_a_remote_becomes_an_address_for_browsers_or_none(remote, address):
    """A token in a remote would be published; a folder would be a dead link."""
    assert course_site.normalise(remote) == address


def test_the_environment_goes_before_git(monkeypatch):
    """A fork's build must point to the fork, whatever its clone came from."""
    monkeypatch.setattr(course_site, "_git", lambda *_: "")
    ours = {"BOOK_REPOSITORY_URL": "https://example.org/a/b"}
    theirs = {"GITHUB_REPOSITORY": "c/d", "GITHUB_REF_NAME": "topic"}
    assert course_site.repository(ours) == ("https://example.org/a/b", "main")
    assert course_site.repository(theirs) == ("https://github.com/c/d", "topic")
    assert course_site.repository(ours | theirs)[0] == "https://example.org/a/b"
    assert course_site.repository({}) == (None, "main")


def test_a_pull_request_points_to_the_branch_it_will_join():
    """Its own name, "12/merge", is no branch, and each link to it is dead."""
    pull = {"GITHUB_REF_NAME": "12/merge", "GITHUB_BASE_REF": "main"}
    assert course_site.repository(pull)[1] == "main"


def test_a_copy_inside_another_repository_does_not_take_its_address(
    tmp_path, monkeypatch
):
    """An unpacked archive under somebody's project would link to that project."""
    run = {"cwd": tmp_path, "check": True}
    subprocess.run(["git", "init", "-q"], **run)
    subprocess.run(["git", "remote", "add", "origin", "https://e.org/x/y"], **run)
    monkeypatch.setattr(course_site, "ROOT", tmp_path.resolve())
    assert course_site.repository({})[0] == "https://e.org/x/y"
    inside = tmp_path / "course"
    inside.mkdir()
    monkeypatch.setattr(course_site, "ROOT", inside.resolve())
    assert course_site.repository({})[0] is None


def options():
    return {"launch_buttons": {"colab_url": "https://colab.example"}}


def test_without_an_address_every_button_that_needs_one_vanishes(monkeypatch):
    """A made-up address is worse than none."""
    monkeypatch.setenv("BOOK_PAGES_BRANCH", "pages")
    for url in (None, "https://git.example.org/a/b"):  # the theme knows three hosts
        found = options() | {"repository_url": "https://github.com/made/up"}
        course_site.choose_buttons(found, url, "main")
        assert "repository_url" not in found
        assert found["launch_buttons"] == {}
        assert not found["use_repository_button"]
        assert not found["use_issues_button"]
        assert not found["use_edit_page_button"]


def test_colab_opens_the_published_copy_which_knows_its_address(monkeypatch):
    """The repository's own copy holds no address, so there Colab would only fail."""
    url = "https://github.com/a/b"
    monkeypatch.delenv("BOOK_PAGES_BRANCH", raising=False)
    found = options()
    course_site.choose_buttons(found, url, "main")
    assert found["use_repository_button"]
    assert found["launch_buttons"] == {}

    monkeypatch.setenv("BOOK_PAGES_BRANCH", "pages")
    monkeypatch.setenv("BOOK_REPOSITORY_URL", url)
    monkeypatch.setenv("BOOK_REPOSITORY_BRANCH", "main")
    found = options()
    course_site.choose_buttons(found, url, "main")
    assert found["launch_buttons"] == options()["launch_buttons"]
    colab = {"text": "Colab", "url": "https://c.example/github/a/b/blob/main/book/1.x"}
    context = {"header_buttons": [{"buttons": [colab]}, {"text": "no group"}]}
    course_site.open_published_copy(None, "book/1", "page.html", context, None)
    assert colab["url"] == ("https://c.example/github/a/b/blob/pages/_sources/book/1.x")


@pytest.fixture
def published(tmp_path):
    folder = tmp_path / "_sources" / "book"
    folder.mkdir(parents=True)
    cell = {"cell_type": "code", "source": as_lines(CELL)}
    path = folder / "01-bigram.ipynb"
    path.write_text(json.dumps({"cells": [cell]}, indent=1) + "\n")
    app = SimpleNamespace(outdir=tmp_path, builder=SimpleNamespace(format="html"))
    return app, path


def test_the_published_notebook_learns_its_address(published, monkeypatch):
    """Opened alone, it must know what to clone; and nothing else in it moves."""
    app, path = published
    before = path.read_text()
    monkeypatch.setenv("BOOK_REPOSITORY_URL", "git@github.com:a/b.git")
    course_site.publish_address(app, None)
    first = "".join(json.loads(path.read_text())["cells"][0]["source"])
    assert '"MINILLM_REPO", "https://github.com/a/b")' in first
    compile(first, "cell", "exec")
    address = r"\"https://github.com/a/b\""
    assert path.read_text().replace(address, r"\"\"") == before


def test_without_an_address_the_published_notebook_stays_as_it_is(
    published, monkeypatch
):
    """It then says in one sentence what is missing."""
    app, path = published
    before = path.read_text()
    monkeypatch.setattr(course_site, "repository", lambda: (None, "main"))
    course_site.publish_address(app, None)
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("seconds", "peak_mb", "said"),
    [
        (3, 240, "10 s, 0.2 GB"),
        (33, 561, "30 s, 0.6 GB"),
        (58, 561, "1 min, 0.6 GB"),
        (100, 1240, "1.5 min, 1.2 GB"),
        (119, 999, "2 min, 1.0 GB"),
    ],
)
def test_a_cost_is_said_in_digits_that_the_next_machine_keeps(seconds, peak_mb, said):
    """Seconds to the hundredth would be false everywhere but here."""
    assert course_site.describe_cost(seconds, peak_mb) == said


def docstring(what, text):
    lines = text.split("\n")
    course_site.hide_colons(None, what, "name", None, None, lines)
    hidden = list(lines)
    course_site.show_colons(None, what, "name", None, None, lines)
    return hidden, lines


def test_a_sentence_with_a_colon_is_not_taken_for_a_type():
    """Napoleon shows "Number of tokens; 0 means" as the type of vocab_size."""
    hidden, shown = docstring("attribute", "Number of tokens; 0 means: all.")
    assert ":" not in hidden[0]
    assert shown == ["Number of tokens; 0 means: all."]

    text = "Do it.\n\nArgs:\n    x: one.\nReturns:\n    Two: a, b.\nRaises:\n    E: no."
    hidden, shown = docstring("function", text)
    assert [":" in line for line in hidden[2:]] == [True, True, True, False, True, True]
    assert shown == text.split("\n")


def test_an_indented_block_after_a_colon_keeps_its_layout():
    """The table of shape letters would be an error, or one long line."""
    _, shown = docstring("module", "Shapes, here:\n\n    B  batch\n    T  time")
    assert shown[0] == "Shapes, here::"
    _, shown = docstring("function", "Do it.\n\nArgs:\n    x: a number.")
    assert shown[2] == "Args:"


def test_the_source_of_other_projects_is_not_shown():
    """A type alias belongs to ``builtins``; its page of source would be empty."""
    assert course_site.own_source(None, "minillm.model") is None
    assert course_site.own_source(None, "minillmore") == ("", {})
    assert course_site.own_source(None, "builtins") == ("", {})


def test_formulas_come_with_the_requirements():
    """Without this package the pages would show dollars, offline and online."""
    assert (course_site.mathjax_files() / "output/chtml/fonts/woff-v2").is_dir()
