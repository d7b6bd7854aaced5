"""Sphinx extension of the course: what a build must know about its surroundings.

* autodoc finds ``minillm`` beside the book, installed or not;
* the repository's address comes from the environment or from git, so that none is
  committed; without one, every button that needs it is left out;
* the published notebooks carry that address, so that one of them opened alone, on
  Colab say, knows what to clone;
* MathJax is served by the book itself, and no page needs another host;
* autodoc and viewcode keep to this package and read its docstrings as they are meant;
* two exercises on a page do not share an id, and references are a list;
* ``{cost}`` in a page's text is a chapter's measured time and memory.

The environment of a build, all of it optional:

=========================  =====================================================
``BOOK_REPOSITORY_URL``    the repository's address (else ``GITHUB_REPOSITORY``,
                           else git's ``origin``)
``BOOK_REPOSITORY_BRANCH`` the branch that readers should see
``BOOK_PAGES_BRANCH``      the branch that holds the built site; it gives each
                           notebook a Colab button, which opens the published
                           copy there
``BOOK_BASEURL``           where the site will be; gives canonical links, social
                           cards and a site map
=========================  =====================================================
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from docutils import nodes
from sphinx.util import logging

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

logger = logging.getLogger(__name__)

# How the first cell of a notebook asks for the address, as JSON stores it.
UNKNOWN_ADDRESS = r"os.environ.get(\"MINILLM_REPO\", \"\")"

# The theme draws buttons for these; for another host it stops the build.
HOSTS = ("github", "gitlab", "bitbucket")

# From file:// a page may not fetch another, and search tries to for its excerpts.
SEARCH_FROM_FILE = (
    "if (location.protocol === 'file:') "
    "DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;"
)

HIDDEN_COLON = "\ue000"  # from the private use area: in no docstring

_SCP = re.compile(r"(?:ssh://)?[^@/:]+@(?P<host>[^:/]+)(?::\d+/|[:/])/*(?P<path>.+)")


def normalise(url: str) -> str | None:
    """Turn what git calls a remote into an address a browser can open, or None."""
    url = url.strip()
    if match := _SCP.fullmatch(url):
        url = f"https://{match['host']}/{match['path']}"
    parts = urlsplit(url)
    path = re.sub(r"(\.git)?/*$", "", parts.path)
    if parts.scheme not in ("http", "https") or not parts.hostname or len(path) < 2:
        return None  # a folder, file:// or nothing
    host = parts.netloc.rpartition("@")[2]  # no credentials in the pages
    return f"{parts.scheme}://{host}{path}"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _origin() -> str:
    top = _git("rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != ROOT:
        return ""  # an unpacked copy inside somebody else's repository
    return _git("remote", "get-url", "origin")


def repository(environment: Mapping[str, str] = os.environ) -> tuple[str | None, str]:
    """Return the address, or None, and the branch."""
    if environment.get("BOOK_REPOSITORY_URL"):
        url = environment["BOOK_REPOSITORY_URL"]
    elif environment.get("GITHUB_REPOSITORY"):
        server = environment.get("GITHUB_SERVER_URL", "https://github.com")
        url = f"{server}/{environment['GITHUB_REPOSITORY']}"
    else:
        url = _origin()
    branch = (
        environment.get("BOOK_REPOSITORY_BRANCH")
        or environment.get("GITHUB_BASE_REF")  # of a pull request, whose own is gone
        or environment.get("GITHUB_REF_NAME")
        or _git("symbolic-ref", "--short", "HEAD")
        or "main"
    )
    return normalise(url), branch


def choose_buttons(options: dict[str, Any], url: str | None, branch: str) -> None:
    """Give the theme the address, or take away every button that needs one."""
    known = url is not None and any(
        host in (urlsplit(url).hostname or "") for host in HOSTS
    )
    for button in ("repository", "issues", "edit_page"):
        options[f"use_{button}_button"] = known
    options.pop("repository_url", None)
    options.pop("repository_branch", None)
    if known:
        options["repository_url"] = url
        options["repository_branch"] = branch
    on_github = known and urlsplit(url or "").hostname == "github.com"
    if not (on_github and os.environ.get("BOOK_PAGES_BRANCH")):
        # the copy in the repository does not know its address, so Colab cannot use it
        options["launch_buttons"] = {}


def on_config_inited(app: Any, config: Any) -> None:
    """Fill in what the surroundings tell, before the theme reads its options."""
    config.html_theme_options.setdefault("navbar_persistent", [])
    choose_buttons(config.html_theme_options, *repository())
    config.mathjax_path = "mathjax/tex-chtml.js"
    config.project = config.html_title
    base = os.environ.get("BOOK_BASEURL", "").rstrip("/")
    if base:
        config.html_baseurl = config.ogp_site_url = f"{base}/"
        config.ogp_site_name = config.html_title
        config.ogp_description_length = 0  # a chapter begins with a table
        config.ogp_social_cards = {"enable": False}
        config.sitemap_url_scheme = "{link}"


def open_published_copy(
    app: Any, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Point a Colab button at the notebook beside the page, which knows its address."""
    pages = os.environ.get("BOOK_PAGES_BRANCH")
    _, branch = repository()
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if pages and button.get("text") == "Colab":
                button["url"] = button["url"].replace(
                    f"/blob/{branch}/", f"/blob/{pages}/_sources/", 1
                )


def list_references_properly(
    app: Any, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Make the entries of a bibliography items of its list, for screen readers."""
    if "body" in context:
        context["body"] = context["body"].replace(
            'role="doc-biblioentry"', 'role="listitem"'
        )


def publish_address(app: Any, exception: Exception | None) -> None:
    """Write the repository's address into the published notebooks."""
    url, _ = repository()
    if exception is not None or app.builder.format != "html" or url is None:
        return
    known = UNKNOWN_ADDRESS.replace(r"\"\"", rf"\"{url}\"")
    for path in (Path(app.outdir) / "_sources").rglob("*.ipynb"):
        text = path.read_text(encoding="utf8")
        if UNKNOWN_ADDRESS in text:
            path.write_text(text.replace(UNKNOWN_ADDRESS, known), encoding="utf8")


def mathjax_files() -> Path | None:
    """Return the folder of MathJax 3 inside ``sphinx-mathjax-offline``, or None."""
    try:
        package = metadata.distribution("sphinx-mathjax-offline")
    except metadata.PackageNotFoundError:
        return None
    folder = Path(str(package.locate_file("sphinx-mathjax-offline/static/mathjax")))
    return folder if (folder / "tex-chtml.js").is_file() else None


def copy_mathjax(app: Any, exception: Exception | None) -> None:
    """Copy the script, its extensions and its fonts: 2 MB of the package's 24."""
    if exception is not None or app.builder.format != "html":
        return
    source = mathjax_files()
    if source is None:
        logger.warning("no formulas: sphinx-mathjax-offline is not installed")
        return
    target = Path(app.outdir) / "_static" / "mathjax"
    for part in ("output/chtml/fonts/woff-v2", "input/tex/extensions"):
        shutil.copytree(source / part, target / part, dirs_exist_ok=True)
    shutil.copy2(source / "tex-chtml.js", target / "tex-chtml.js")


def drop_repeated_ids(app: Any, doctree: Any, page: str) -> None:
    """Take away the one id that sphinx-exercise gives to every exercise of a page."""
    for node in doctree.findall(nodes.Element):
        for repeated in ("exercise-content", "solution-content"):
            if repeated in node.get("ids", []):
                node["ids"].remove(repeated)


def hide_colons(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Keep napoleon from reading "this: that" as a type; ours are in the signatures.

    It does so under Returns, and in what is said of an attribute.
    """
    about_a_value = what in ("attribute", "data", "property")
    returning = False
    for number, line in enumerate(lines):
        if re.fullmatch(r"[A-Z]\w+:", line):
            returning = line in ("Returns:", "Yields:")
        elif about_a_value or returning:
            lines[number] = line.replace(":", HIDDEN_COLON)


def show_colons(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Undo ``hide_colons``, once napoleon has read the lines.

    And an indented block after a colon is a layout to keep, as it looks in the file.
    """
    lines[:] = [line.replace(HIDDEN_COLON, ":") for line in lines]
    for number, line in enumerate(lines[:-2]):
        below, block = lines[number + 1 : number + 3]
        if re.search(r"[^:]:$", line) and not below and block.startswith("    "):
            lines[number] += ":"


def own_source(app: Any, module: str) -> tuple[str, dict[str, Any]] | None:
    """Show the source of ``minillm`` only: a type alias leads into Python's own."""
    return None if module.partition(".")[0] == "minillm" else ("", {})


def drop_foreign_sources(app: Any) -> list[Any]:
    """Drop the empty pages that ``own_source`` leaves."""
    modules = getattr(app.builder.env, "_viewcode_modules", {})
    for module in [name for name in modules if own_source(app, name)]:
        del modules[module]
    return []


def write_entrance(app: Any, exception: Exception | None) -> None:
    """Lead from the site's root to the first page, also without scripts."""
    if exception is not None or app.builder.format != "html":
        return
    first = f"{app.config.root_doc}.html"
    title = app.config.html_title
    (Path(app.outdir) / "index.html").write_text(
        f"""<!DOCTYPE html>
<html lang="{app.config.language}">
<head>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url={first}">
<title>{title}</title>
</head>
<body><h1><a href="{first}">{title}</a></h1></body>
</html>
""",
        encoding="utf8",
    )


def describe_cost(seconds: float, peak_mb: float) -> str:
    """Say a cost as a reader plans with it: no digit that the next machine changes."""
    if seconds < 50:
        time = f"{max(10, 10 * round(seconds / 10))} s"
    else:
        minutes = max(1, round(2 * seconds / 60) / 2)
        time = f"{minutes:g} min"
    return f"{time}, {peak_mb / 1000:.1f} GB"


def cost_role(
    name: str,
    rawtext: str,
    text: str,
    lineno: int,
    inliner: Any,
    options: Any = None,
    content: Any = (),
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """Replace ``{cost}`01-bigram``` by what ``book/costs.json`` measured."""
    path = ROOT / "book" / "costs.json"
    inliner.document.settings.env.note_dependency(str(path))
    costs = json.loads(path.read_text(encoding="utf8"))["chapters"]
    if text not in costs:
        problem = inliner.reporter.warning(
            f"{text} is not in book/costs.json: run `make costs`", line=lineno
        )
        return [], [problem]
    cost = costs[text]
    return [nodes.Text(describe_cost(cost["seconds"], cost["peak_mb"]))], []


def setup(app: Any) -> dict[str, Any]:
    """Connect the above to Sphinx."""
    if os.environ.get("BOOK_BASEURL"):
        app.setup_extension("sphinxext.opengraph")
        app.setup_extension("sphinx_sitemap")
    app.add_role("cost", cost_role)
    app.add_js_file(None, body=SEARCH_FROM_FILE)
    app.setup_extension("sphinx.ext.viewcode")  # whose event is used below
    # 500 is the others' priority: that of the theme, which reads its options and then
    # adds its buttons to each page, and that of napoleon
    app.connect("config-inited", on_config_inited, priority=100)
    app.connect("html-page-context", open_published_copy, priority=900)
    app.connect("html-page-context", list_references_properly)
    app.connect("autodoc-process-docstring", hide_colons, priority=400)
    app.connect("autodoc-process-docstring", show_colons, priority=600)
    app.connect("doctree-resolved", drop_repeated_ids)
    app.connect("viewcode-find-source", own_source)
    app.connect("html-collect-pages", drop_foreign_sources, priority=400)
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", write_entrance)
    app.connect("build-finished", publish_address)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "version": "1"}
