"""The site check finds each fault that it is there for."""

import pytest
from sitecheck import main, problems

GOOD = """<!DOCTYPE html>
<html lang="en"><head><title>A page</title>
<link rel="stylesheet" href="_static/style.css">
<link rel="canonical" href="https://example.org/page.html"></head>
<body><h1 id="top">A page</h1>
<a href="#top">up</a> <a href="other.html#here">there</a>
<a href="https://example.org">elsewhere</a> <a href="mailto:a@example.org">write</a>
<img src="_static/a.png" alt="A line that rises">
<img src="data:image/png;base64,AAAA" alt="A dot">
</body></html>"""
OTHER = """<html lang="en"><head><title>Other</title></head>
<body><div class="onlyprint"><h1>Other</h1></div>
<h1 id="here">Other</h1></body></html>"""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "style.css").write_text("body { color: #123 }")
    (tmp_path / "_static" / "a.png").write_bytes(b"")
    (tmp_path / "page.html").write_text(GOOD)
    (tmp_path / "other.html").write_text(OTHER)
    return tmp_path


def test_a_good_site_has_no_problems(site, capsys):
    """Links that a reader may follow elsewhere are no fault, nor is a canonical one."""
    assert list(problems(site)) == []
    assert main([str(site)]) == 0
    assert "no problems" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"other.html#here"', '"gone.html"', "dead link gone.html"),
        ('"other.html#here"', '"other.html#gone"', "no anchor other.html#gone"),
        ('"#top"', '"#gone"', "no anchor #gone"),
        ("_static/a.png", "_static/gone.png", "dead link _static/gone.png"),
        ("style.css", "gone.css", "dead link _static/gone.css"),
        ('alt="A line that rises"', "", "image without alt text: _static/a.png"),
        ('alt="A line that rises"', 'alt=" "', "image without alt text: _static/a.png"),
        ("_static/a.png", "//cdn.example/a.png", "<img> loads //cdn.example/a.png"),
        (
            "</body>",
            '<script src="https://cdn.example/x.js"></script></body>',
            "<script> loads https://cdn.example/x.js",
        ),
        (
            "</head>",
            '<link rel="preconnect" href="https://cdn.example"></head>',
            "<link> loads https://cdn.example",
        ),
        (
            "</head>",
            "<style>@import 'https://cdn.example/x.css';</style></head>",
            "<style> loads https://cdn.example/x.css",
        ),
        (
            "<h1 ",
            '<p style="background: url(//cdn.example/x.png)"></p><h1 ',
            "<style> loads //cdn.example/x.png",
        ),
        ("<body>", '<body><p id="top"></p>', "id twice: top"),
        ("<body>", "<body><h1>Another</h1>", "2 first headings"),
        (' lang="en"', "", "no language"),
        ("A page</title>", "</title>", "no title"),
    ],
)
def test_a_fault_is_found(site, old, new, complaint):
    """Each of these was published by somebody and seen by nobody."""
    page = site / "page.html"
    assert old in page.read_text()
    page.write_text(page.read_text().replace(old, new, 1))
    assert list(problems(site)) == [f"page.html: {complaint}"]
    assert main([str(site)]) == 1


def test_a_style_sheet_may_load_nothing_from_elsewhere(site):
    """Fonts come in by this door."""
    sheet = site / "_static" / "style.css"
    sheet.write_text("@font-face { src: url('https://fonts.example/a.woff2') }")
    assert list(problems(site)) == [
        "_static/style.css: loads https://fonts.example/a.woff2"
    ]


def test_an_empty_folder_is_not_a_site(tmp_path):
    """Nothing built, nothing wrong: that must not pass."""
    assert len(list(problems(tmp_path))) == 1


def test_the_built_book_has_no_problems(book):
    """The book itself."""
    assert list(problems(book)) == []
