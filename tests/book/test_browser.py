"""The book in a browser that reaches nothing but the book's own files."""

import json

import pytest

playwright = pytest.importorskip("playwright.sync_api")
Axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}

EVERY_RULE = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]  # axe's names
# Thousands of elements that look alike everywhere: axe looks at each kind on one page.
FORMULAS = [["mjx-container"]]
ALIKE = [*FORMULAS, [".highlight"], [".bd-sidebar"]]


@pytest.fixture(scope="module")
def browser(chromium):
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser):
    """A page that refuses the network, and remembers what was asked for."""
    context = browser.new_context(viewport=DESK, color_scheme="light")
    page = context.new_page()
    page.outside, page.errors = [], []

    def only_files(route):
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            page.outside.append(route.request.url)
            route.abort()

    context.route("**/*", only_files)
    page.on("console", lambda m: m.type == "error" and page.errors.append(m.text))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    yield page
    context.close()


def content_pages(book):
    return sorted((book / "book").glob("*.html"))


def overflowing(page):
    """Return what makes a page wider than its window, if anything does."""
    return page.evaluate(
        """() => {
            const width = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= width) return [];
            return [...document.querySelectorAll("main *")]
                .filter(e => e.getBoundingClientRect().right > width + 1)
                .map(e => e.tagName + "." + e.className).slice(0, 8);
        }"""
    )


def settle(page):
    """Wait until the formulas are set."""
    page.wait_for_load_state("load")
    page.evaluate("() => window.MathJax?.startup?.promise")


def test_every_page_needs_nothing_from_outside_and_reports_no_error(book, page):
    """A script from a CDN, or one that breaks without it, ends offline reading."""
    pages = [*content_pages(book), book / "search.html", book / "genindex.html"]
    assert len(pages) >= 5
    for path in pages:
        page.goto(path.as_uri())
        settle(page)
        assert (path.name, page.outside, page.errors) == (path.name, [], [])


def test_formulas_are_set_from_the_books_own_files(book, page):
    """Without its font files MathJax draws boxes, and without its script dollars."""
    page.goto((book / "book" / "notation.html").as_uri())
    settle(page)
    assert page.locator("mjx-container").count() >= 10
    assert page.evaluate("document.fonts.check('16px MJXZERO, MJXTEX')")
    assert "\\ln" not in page.locator("main").inner_text()


def test_the_tables_of_the_ledger_are_tables(book, page):
    """Plain CommonMark has none: the page then shows bars and dashes."""
    page.goto((book / "book" / "claims.html").as_uri())
    assert page.locator("main table").count() >= 8
    assert "--:" not in page.locator("main").inner_text()


def test_search_finds_a_page_without_a_server(book, page):
    """Search that fetches its excerpts fails from file://, and says so in red."""
    page.goto((book / "search.html").as_uri() + "?q=temperature")
    found = page.locator("#search-results li a[href*=notation]")
    found.first.wait_for(timeout=20_000)  # the results are shown one by one
    page.wait_for_timeout(300)  # long enough for a failing fetch to be reported
    assert page.errors == []


def test_a_phone_shows_every_page_without_scrolling_sideways(book, page):
    """One wide table or formula makes the whole page swim under a thumb."""
    page.set_viewport_size(PHONE)
    for path in content_pages(book):
        page.goto(path.as_uri())
        settle(page)
        assert (path.name, overflowing(page)) == (path.name, [])


def test_the_dark_theme_is_dark_and_keeps_plots_on_white_paper(book, page):
    """Plots have dark ink: without paper of their own they vanish in the dark."""
    page.emulate_media(color_scheme="dark")
    for path in content_pages(book):
        page.goto(path.as_uri())
        assert page.locator("html").get_attribute("data-theme") == "dark"
        paper = page.locator("main .cell_output img").evaluate_all(
            "all => all.map(e => getComputedStyle(e).backgroundColor"
            " + getComputedStyle(e).filter)"
        )
        assert set(paper) <= {"rgb(255, 255, 255)none"}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_shuts_anyone_out(book, page, theme):
    """Faint text, a missing name, a broken order of headings: axe finds these."""
    page.emulate_media(color_scheme=theme)
    rules = EVERY_RULE if theme == "light" else ["color-contrast"]
    pages = content_pages(book)
    for path in pages:
        page.goto(path.as_uri())
        settle(page)
        context = {"exclude": FORMULAS if path == pages[0] else ALIKE}
        if path.stem == "api":
            context["include"] = [["#costs"]]  # a room like all others
        found = Axe().run(
            page,
            context=context,
            options={"runOnly": rules, "resultTypes": ["violations"]},
        )
        faults = [
            (one["id"], [node["html"][:150] for node in one["nodes"]][:3])
            for one in found.response["violations"]
        ]
        assert not faults, f"{path.name}: {json.dumps(faults, indent=1)}"
