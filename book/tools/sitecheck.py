"""Check a built book without a network.

    python book/tools/sitecheck.py _build/html

Every local link, anchor and file exists; every image has a text alternative; every page
has a language, a title, one first heading, and no id twice; and no page loads anything
from another host. Links that a reader may follow elsewhere are allowed.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# attributes that make a browser fetch something by itself
LOADS = {
    "audio": ["src"],
    "embed": ["src"],
    "iframe": ["src"],
    "img": ["src", "srcset"],
    "input": ["src"],
    "object": ["data"],
    "script": ["src"],
    "source": ["src", "srcset"],
    "track": ["src"],
    "video": ["src", "poster"],
}
LOADING_LINKS = {
    "stylesheet", "icon", "preload", "prefetch", "modulepreload", "preconnect",
    "dns-prefetch", "manifest", "apple-touch-icon",
}  # fmt: skip
ELSEWHERE_IN_CSS = re.compile(
    r"""url\(\s*["']?((?:https?:)?//[^)"']+)|@import\s+["']((?:https?:)?//[^"']+)"""
)


class Page(HTMLParser):
    """What one page declares: ids, links, what it loads, and its plain faults."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.loads: list[tuple[str, str]] = []
        self.faults: list[str] = []
        self.headings = 0
        self.language = False
        self.title = ""
        self._inside: str | None = None
        self._for_paper = False
        self.feed(path.read_text(encoding="utf8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self._inside = tag if tag in ("title", "style") else None
        if "id" in found:
            self.ids[found["id"]] += 1
        if tag == "html":
            self.language = bool(found.get("lang"))
        if tag == "h1" and not self._for_paper:
            self.headings += 1
        self._for_paper = found.get("class") == "onlyprint"  # its next tag is a title
        if tag == "img" and not found.get("alt", "").strip():
            self.faults.append(f"image without alt text: {found.get('src', '')[:80]}")
        for name in LOADS.get(tag, []):
            for one in found.get(name, "").split(","):
                if one.strip() and not found[name].startswith("data:"):
                    self.loads.append((tag, one.split()[0]))
        if tag == "link" and LOADING_LINKS & set(found.get("rel", "").split()):
            self.loads.append((tag, found.get("href", "")))
        elif tag in ("a", "area", "link") and found.get("href"):
            self.links.append(found["href"])
        self._style(found.get("style", ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self.title += data.strip()
        elif self._inside == "style":
            self._style(data)

    def _style(self, css: str) -> None:
        for match in ELSEWHERE_IN_CSS.finditer(css):
            self.loads.append(("style", match[1] or match[2]))


def page_faults(page: Page) -> Iterator[str]:
    """Yield what is wrong with a page on its own."""
    yield from page.faults
    yield from (f"id twice: {name}" for name, times in page.ids.items() if times > 1)
    if not page.language:
        yield "no language"
    if not page.title:
        yield "no title"
    if page.headings != 1:
        yield f"{page.headings} first headings"


def problems(root: Path) -> Iterator[str]:
    """Yield one line for each problem of the site in ``root``."""
    root = root.resolve()
    pages = {
        path: Page(path)
        for path in sorted(root.rglob("*.html"))
        if "_static" not in path.parts and "_sources" not in path.parts
    }
    if not pages:
        yield f"{root}: no pages"
    for path, page in pages.items():
        name = path.relative_to(root)
        yield from (f"{name}: {fault}" for fault in page_faults(page))
        for tag, reference in page.loads:
            parts = urlsplit(reference)
            if parts.netloc or parts.scheme not in ("", "data"):
                yield f"{name}: <{tag}> loads {reference}"
        local = [reference for _, reference in page.loads] + page.links
        for reference in local:
            parts = urlsplit(reference)
            if parts.scheme or parts.netloc:
                continue
            target = path
            if parts.path:
                target = (path.parent / unquote(parts.path)).resolve()
            if target.is_dir():
                target /= "index.html"
            anchor = unquote(parts.fragment)
            if not target.is_file():
                yield f"{name}: dead link {reference}"
            elif anchor and target in pages and anchor not in pages[target].ids:
                yield f"{name}: no anchor {reference}"
    for path in sorted((root / "_static").rglob("*.css")):
        for match in ELSEWHERE_IN_CSS.finditer(path.read_text(encoding="utf8")):
            yield f"{path.relative_to(root)}: loads {match[1] or match[2]}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check a built book.")
    parser.add_argument("root", type=Path)
    root = parser.parse_args(arguments).root
    found = list(problems(root))
    print("\n".join(found) or f"{root}: no problems")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
