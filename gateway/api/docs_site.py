"""The documentation as web pages that need no internet: ``docs/``, the README of each adapter, a page per error code,
and what a search needs."""

import gzip
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

import gateway
from gateway.domain.errors import GatewayError, NotFound, error_classes
from gateway.http.mounting import BASE_PATH

if TYPE_CHECKING:
    from gateway.api.docs_markdown import PageRenderer, Rendered

_PACKAGE: Final = Path(gateway.__file__).parent
_STATIC: Final = Path(__file__).parent / "static"
MEDIA_TYPES: Final = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}
_PAGE: Final = (_STATIC / "page.html").read_text("utf-8")
_FILES: Final = (
    *(_STATIC / name for name in ("docs.css", "docs.js", "reference.js")),
    *(_PACKAGE / "console" / name for name in ("theme.css", "dom.js", "icon.svg")),
)
_INDEX: Final = "search.json"
_FOLDED: Final = 12
"""A group of the sidebar with more pages than this is folded, except on these pages."""


class Document(NamedTuple):
    """A response body, its media type, and the body in gzip."""

    body: bytes
    content_type: str = "text/html; charset=utf-8"
    packed: bytes = b""


def docs_folder() -> Path:
    """The folder of the Markdown pages: in the installed package, or ``docs/`` in a checkout."""
    packaged = _PACKAGE / "docs_pages"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "docs"


class DocsSite:
    """Renders pages and caches them; it may be used in threads. The methods raise :class:`NotFound` for what does not
    exist. ``openapi`` returns the OpenAPI document, whose operations the search finds."""

    def __init__(self, folder: Path | None = None, openapi: Callable[[], Mapping[str, Any]] = dict) -> None:
        self._folder = folder or docs_folder()
        self._readmes = [] if folder else sorted((_PACKAGE.parent / "adapters").glob("*/README.md"))
        self._openapi = openapi
        self._documents: dict[str, Document] = {}
        self._pages: dict[str, Rendered] = {}
        self._lock = Lock()

    def page(self, name: str) -> Document:
        """A page of ``docs/``, by its file name without extension, or an adapter's README, by the adapter's name."""
        if name not in self._sources:
            raise NotFound("There is no such page; /docs lists those that there are.")
        return self._kept(f"page {name}", lambda: self._page(name))

    def error(self, code: str) -> Document:
        """An error code: meaning, action, and its form in each dialect, from the tables of ``errors.md``."""
        cls = next((cls for cls in error_classes() if cls.code == code), None)
        if cls is None:
            raise NotFound("There is no such error code; /docs/errors lists those that there are.")
        return self._kept(f"error {code}", lambda: self._error(cls))

    def failure(self, error: GatewayError) -> Document:
        """What a browser shows instead of a page."""
        more = "".join(self._group(title, pages, "") for title, pages in self.groups.items())
        content = (
            f"<h1>{escape(error.title)}</h1><p>{escape(error.detail)}</p><p>Search above, or choose a page:</p>{more}"
        )
        return self._document(content, error.title)

    def asset(self, name: str) -> Document:
        """A style sheet, script or picture of these pages, or the index of the search. No other file is served."""
        if name == _INDEX:
            return self._kept(name, lambda: Document(msgspec.json.encode(self._index()), MEDIA_TYPES[".json"]))
        files = {path.name: path for path in (*_FILES, *self._folder.glob("pictures/*.*"))}
        path = files.get(name)
        if path is None or path.suffix not in MEDIA_TYPES:
            raise NotFound("There is no such file.")
        return self._kept(name, lambda: Document(path.read_bytes(), MEDIA_TYPES[path.suffix]))

    def _kept(self, key: str, make: Callable[[], Document]) -> Document:
        with self._lock:
            if key not in self._documents:
                document = make()
                self._documents[key] = document._replace(packed=gzip.compress(document.body))
            return self._documents[key]

    @cached_property
    def _sources(self) -> Mapping[str, str]:
        readmes = {path.parent.name: path.read_text("utf-8") for path in self._readmes}
        return readmes | {path.stem: path.read_text("utf-8") for path in sorted(self._folder.rglob("*.md"))}

    @cached_property
    def groups(self) -> Mapping[str, list[tuple[str, str]]]:
        """The sidebar: each section of ``index.md``, with the title and name of the pages that it links."""
        _, *sections = re.split(r"^## ", self._sources.get("index", ""), flags=re.MULTILINE)
        link = re.compile(r"\[([^\]]+)\]\((?:adr/|\.\./adapters/)?([\w-]+)(?:/README)?\.md\)")
        return {title: link.findall(text) for title, _, text in (section.partition("\n") for section in sections)}

    @cached_property
    def _renderer(self) -> "PageRenderer":
        from gateway.api.docs_markdown import PageRenderer  # noqa: PLC0415 (slow, and few processes render a page)

        return PageRenderer(self._sources, self._sources.get("glossary", ""))

    def _rendered(self, name: str) -> "Rendered":
        if name not in self._pages:
            self._pages[name] = self._renderer.render(name, self._sources[name])
        return self._pages[name]

    def _page(self, name: str) -> Document:
        rendered = self._rendered(name)
        contents = "".join(
            f'<li class="level{section.level}"><a href="#{section.anchor}">{escape(section.title)}</a></li>'
            for section in rendered.sections
            if section.level in {2, 3}
        )
        return self._document(rendered.html, rendered.sections[0].title, name, contents)

    def _error(self, cls: type[GatewayError]) -> Document:
        head, cells = error_row(self._sources.get("errors", ""), cls.code)
        inline = self._renderer.inline
        pairs = zip(head, cells, strict=False)
        rows = "".join(f"<tr><th>{inline(name)}</th><td>{inline(cell)}</td></tr>" for name, cell in pairs)
        content = (
            f"<h1><code>{escape(cls.code)}</code></h1><p>{escape(cls.title)}.</p>"
            f'<div class="scroll" tabindex="0"><table>{rows}</table></div>'
            '<p><a href="/docs/errors">All error codes</a></p>'
        )
        return self._document(content, cls.code, "errors")

    def _document(self, content: str, title: str, name: str = "", contents: str = "") -> Document:
        """A page around ``content``, with the addresses in its attributes as clients see them."""
        order = [("Documentation", "index"), *(page for pages in self.groups.values() for page in pages)]
        at = next((at for at, (_, page) in enumerate(order) if page == name), None)
        around = () if at is None else ((at - 1, "prev", "Previous"), (at + 1, "next", "Next"))
        page = _PAGE.format(
            title=escape(title),
            name=name,
            version=escape(gateway.__version__),
            sidebar="".join(self._group(title, pages, name) for title, pages in self.groups.items()),
            content=content,
            contents=contents,
            around="".join(
                f'<a rel="{rel}" href="/docs/{order[at][1]}"><small>{text}</small> {escape(order[at][0])}</a>'
                for at, rel, text in around
                if 0 <= at < len(order)
            ),
        ).replace('="/docs/index"', '="/docs"')
        return Document(page.replace('="/', f'="{BASE_PATH.get()}/').encode())

    def _group(self, title: str, pages: list[tuple[str, str]], current: str) -> str:
        marks = {current: ' aria-current="page"'}
        links = "".join(
            f'<li><a href="/docs/{name}"{marks.get(name, "")}>{escape(text)}</a></li>' for text, name in pages
        )
        is_open = len(pages) <= _FOLDED or current in [name for _, name in pages]
        return f"<details{' open' if is_open else ''}><summary>{escape(title)}</summary><ul>{links}</ul></details>"

    def _index(self) -> list[tuple[str, str, str, str]]:
        """What the search finds: address below ``/docs/``, page, heading and words of each section and operation."""
        found = []
        for name in self._sources:
            sections = self._rendered(name).sections
            for section in sections:
                target = f"{name}#{section.anchor}" if section.level > 1 else name
                found.append((target, sections[0].title, section.title, " ".join(section.words)))
        for path, methods in self._openapi().get("paths", {}).items():
            for method, operation in methods.items():
                call = f"{operation['summary']}: {method.upper()} {path}"
                target = f"reference#{operation['operationId']}"
                found.append((target, "API reference", call, operation.get("description", "")))
        return found


def error_row(text: str, code: str) -> tuple[list[str], list[str]]:
    """Column names and cells of the rows for ``code`` in all Markdown tables, without the first column."""
    columns: list[str] = []
    head: list[str] = []
    found: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if cells[0] == "code":
            columns = cells[1:]
        elif cells[0] == f"`{code}`":
            head, found = head + columns, found + cells[1:]
    return head, found
