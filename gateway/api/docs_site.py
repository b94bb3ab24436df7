"""The documentation as web pages that need no internet: ``docs/``, a page per error code, and Swagger UI."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import gateway
from gateway.domain.errors import GatewayError, NotFound, error_classes
from gateway.http.mounting import BASE_PATH

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_PACKAGE: Final = Path(gateway.__file__).parent
_STATIC: Final = Path(__file__).parent / "static"
_PAGE: Final = (_STATIC / "page.html").read_text("utf-8")
_EXPLORER: Final = (_STATIC / "explorer.html").read_text("utf-8")
MEDIA_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".png": "image/png"}
_OWN_ASSETS: Final = ("docs.css", "explorer.js")
_SWAGGER_ASSETS: Final = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
_MISSING: Final = "Pages are not served here: runtime-gateway[docs] is not installed."
_RELATIVE_PAGE: Final = re.compile(r"(?:\./)?(?P<page>[A-Za-z0-9_-]+)\.md(?P<anchor>#.*)?\Z")


@dataclass(frozen=True, slots=True)
class Document:
    """A response body and its media type."""

    body: bytes
    content_type: str = "text/html; charset=utf-8"


def docs_folder() -> Path:
    """The folder of the Markdown pages: in the installed package, or ``docs/`` in a checkout."""
    packaged = _PACKAGE / "docs_pages"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "docs"


def swagger_folder() -> Path | None:
    """The static files of Swagger UI; None if the package that contains them is not installed. It is not imported."""
    spec = find_spec("swagger_ui")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "static"


class DocsSite:
    """Renders pages and caches them. All methods raise :class:`NotFound` for a page that does not exist."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or docs_folder()
        self._rendered: dict[str, Document] = {}

    @cached_property
    def _markdown(self) -> "MarkdownIt":
        try:
            from markdown_it import MarkdownIt  # noqa: PLC0415 (its import is slow, and few processes render a page)
        except ImportError:
            raise NotFound(_MISSING) from None
        return MarkdownIt("commonmark", {"html": False}).enable("table")

    def index(self) -> Document:
        entries = "".join(
            f'<li><a href="/docs/{page}">{escape(title)}</a></li>' for page, title in self._titles.items()
        )
        if find_spec("markdown_it") is None or swagger_folder() is None:
            entries = f"<li>{_MISSING}</li>"
        else:
            entries += '<li><a href="/docs/explorer">Try the API (Swagger UI)</a></li>'
        return self._kept(
            "index",
            "runtime-gateway",
            f"<h1>runtime-gateway {escape(gateway.__version__)}</h1><ul>{entries}"
            '<li><a href="/openapi.json">The OpenAPI document</a></li></ul>',
        )

    def page(self, name: str) -> Document:
        """A page of ``docs/``, by its file name without extension."""
        if name not in self._sources:
            raise NotFound("There is no such page; /docs lists those that there are.")
        known = self._rendered.get(f"page {name}")
        return known or self._kept(f"page {name}", self._titles[name], self._render(self._sources[name]))

    def error(self, code: str) -> Document:
        """An error code: meaning, action, and its form in each dialect, from the tables of ``errors.md``."""
        cls = next((cls for cls in error_classes() if cls.code == code), None)
        if cls is None:
            raise NotFound("There is no such error code; /docs/errors lists those that there are.")
        return self._rendered.get(f"error {code}") or self._kept(f"error {code}", code, self._error(cls))

    def explorer(self) -> Document:
        """Swagger UI."""
        if swagger_folder() is None:
            raise NotFound("Swagger UI is not served here: runtime-gateway[docs] is not installed. See /openapi.json.")
        return _document(_EXPLORER)

    def asset(self, name: str) -> Document:
        """A style sheet, script or image of these pages. Only the listed names are served, no other file."""
        swagger = swagger_folder()
        if name in _OWN_ASSETS:
            path = _STATIC / name
        elif name in _SWAGGER_ASSETS and swagger is not None:
            path = swagger / name
        else:
            raise NotFound("There is no such file.")
        if name not in self._rendered:
            self._rendered[name] = Document(path.read_bytes(), MEDIA_TYPES[path.suffix])
        return self._rendered[name]

    @cached_property
    def _sources(self) -> Mapping[str, str]:
        return {path.stem: path.read_text("utf-8") for path in sorted(self._folder.glob("*.md"))}

    @cached_property
    def _titles(self) -> Mapping[str, str]:
        return {page: text.partition("\n")[0].lstrip("# ").strip() or page for page, text in self._sources.items()}

    def _error(self, cls: type[GatewayError]) -> str:
        head, cells = error_row(self._sources.get("errors", ""), cls.code)
        rows = "".join(
            f"<tr><th>{self._markdown.renderInline(name)}</th><td>{self._markdown.renderInline(cell)}</td></tr>"
            for name, cell in zip(head, cells, strict=False)
        )
        return (
            f"<h1><code>{escape(cls.code)}</code></h1><p>{escape(cls.title)}.</p><table>{rows}</table>"
            '<p><a href="/docs/errors">All error codes</a></p>'
        )

    def _render(self, text: str) -> str:
        tokens = self._markdown.parse(text)
        for index, token in enumerate(tokens):
            if token.type == "heading_open":
                token.attrSet("id", _slug(tokens[index + 1].content))
            for child in token.children or ():
                self._rewrite_link(child)
        return str(self._markdown.renderer.render(tokens, self._markdown.options, {}))

    def _rewrite_link(self, token: "Token") -> None:
        """Rewrite links between pages to their served paths; a link to a file that is not served is removed."""
        target = str(token.attrGet("href") or "")
        if not target or target.startswith(("#", "/", "http://", "https://")):
            return
        match = _RELATIVE_PAGE.match(target)
        if match is not None and match["page"] in self._sources:
            token.attrSet("href", f"/docs/{match['page']}{match['anchor'] or ''}")
        else:
            del token.attrs["href"]

    def _kept(self, key: str, title: str, content: str) -> Document:
        page = _PAGE.format(title=escape(title), content=content)
        return self._rendered.setdefault(key, _document(page))


def _document(page: str) -> Document:
    """A page, with the addresses in its attributes as clients see them."""
    return Document(page.replace('="/', f'="{BASE_PATH.get()}/').encode())


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


def _slug(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
