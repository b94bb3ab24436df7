"""Markdown as the HTML of the documentation: highlighted code, and links between pages and to the glossary."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]

_FORMATTER: Final = HtmlFormatter(nowrap=True)
_RELATIVE_PAGE: Final = re.compile(
    r"(?:\./|(?:\.\./)*(?:adr/|docs/|adapters/)?)(?P<page>[\w-]+)(?:/README)?\.md(?P<anchor>#.*)?\Z"
)
_PICTURE: Final = re.compile(r"(?:\.\./)?pictures/(?P<name>[\w.-]+)\Z")
_HYPHENATED: Final = re.compile(r"[\w-]*-\w[\w-]*")
_JOINT: Final = re.compile(r"(?<=[\w}:])(?:[/_]+|\.(?!\w{1,4}\b))(?=[\w{]|<s)")
_SHORT: Final = 20
_ORDINARY: Final = frozenset(
    ("absent", "feature", "item", "mark", "move", "native", "place", "provider", "runtime", "spec", "switch", "unknown")
)
"""Words of the glossary that are mostly used in their ordinary sense, or on every page: they are not linked."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, and the words below it, for the search."""

    level: int
    anchor: str
    title: str
    words: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A page as HTML, and its sections; the first one has the title of the page."""

    html: str
    sections: list[Section]


def slug(heading: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


class PageRenderer:
    """Renders pages whose links lead to each other. Links to files that are not ``pages`` are removed."""

    def __init__(self, pages: Collection[str], glossary: str) -> None:
        self._pages = pages
        options = {"html": False, "highlight": _highlighted}
        self._markdown = MarkdownIt("commonmark", options).enable("table")
        self._markdown.add_render_rule("code_inline", _code)
        terms = {term.lower() for term in re.findall(r"^## (.+)$", glossary, re.MULTILINE)} - _ORDINARY
        words = "|".join(map(re.escape, sorted(terms, key=len, reverse=True))) or "(?!)"
        self._term: Final = re.compile(rf"\b({words})s?\b", re.IGNORECASE)

    def inline(self, text: str) -> str:
        return str(self._markdown.renderInline(text))

    def render(self, name: str, text: str) -> Rendered:
        tokens = self._markdown.parse(text)
        sections = [Section(1, "", name)]
        unlinked = {"glossary"} if name == "glossary" else set[str]()
        for before, token in pairwise(tokens):
            if token.type == "fence":
                sections[-1].words.append(token.content)
            if token.type != "inline" or token.children is None:
                continue
            for child in token.children:
                self._rewrite(child)
            plain = "".join(child.content or " " * (child.type == "softbreak") for child in token.children)
            if before.type != "heading_open":
                sections[-1].words.append(plain)
                if name != "glossary":
                    token.children = list(self._with_terms(token.children, unlinked))
                continue
            section = Section(int(before.tag[1]), slug(token.content), plain)
            before.attrSet("id", section.anchor)
            if section.level == 1:
                sections = [section]
            else:
                sections.append(section)
                label = escape(f"Link to: {plain}")
                token.children.append(_html(f'<a class="anchor" href="#{section.anchor}" aria-label="{label}">#</a>'))
        html = str(self._markdown.renderer.render(tokens, self._markdown.options, {}))
        html = html.replace("<table>", '<div class="scroll" tabindex="0"><table>')
        html = html.replace(' style="text-align:right"', ' class="number"')
        return Rendered(html.replace("</table>", "</table></div>"), sections)

    def _rewrite(self, token: Token) -> None:
        """Rewrite links and pictures to their served paths; a link to a file that is not served is removed."""
        if (picture := _PICTURE.match(str(token.attrGet("src") or ""))) is not None:
            token.attrSet("src", f"/docs/assets/{picture['name']}")
        target = str(token.attrGet("href") or "")
        if not target or target.startswith(("#", "/", "http://", "https://")):
            return
        match = _RELATIVE_PAGE.match(target)
        if match is not None and match["page"] in self._pages:
            token.attrSet("href", address(match["page"]) + (match["anchor"] or ""))
        else:
            del token.attrs["href"]

    def _with_terms(self, tokens: list[Token], linked: set[str]) -> Iterator[Token]:
        """The tokens outside of links and code, with links around pictures and the first use of each glossary term."""
        depth = 0
        for token in tokens:
            depth += {"link_open": 1, "link_close": -1}.get(token.type, 0)
            if token.type == "image" and not depth:  # opens it, because phones show its text small
                yield from (_html(f'<a href="{escape(str(token.attrs["src"]))}">'), token, _html("</a>"))
                continue
            if token.type != "text" or depth:
                yield token
                continue
            rest = 0
            for match in self._term.finditer(token.content):
                term = match[1].lower()
                if term in linked:
                    continue
                linked.add(term)
                target = f"{address('glossary')}#{slug(term)}"
                yield Token("text", "", 0, content=token.content[rest : match.start()])
                yield _html(f'<a class="term" href="{target}">{escape(match[0])}</a>')
                rest = match.end()
            yield Token("text", "", 0, content=token.content[rest:])


def address(page: str) -> str:
    """The path of a page."""
    return "/docs" if page == "index" else f"/docs/{page}"


def _html(content: str) -> Token:
    return Token("html_inline", "", 0, content=content)


def _code(_renderer: object, tokens: Sequence[Token], at: int, *_: object) -> str:
    """Code between words. A line may end between the parts of a long name, and not behind a hyphen."""
    code = _HYPHENATED.sub(r"<span>\g<0></span>", escape(tokens[at].content))
    if len(tokens[at].content) > _SHORT:
        code = _JOINT.sub(r"\g<0><wbr>", code)
    return f"<code>{code}</code>"


def _highlighted(code: str, language: str, _attributes: str) -> str:
    lexer = get_lexer_by_name(language or "text")
    lines = highlight(code, lexer, _FORMATTER)
    return f'<pre tabindex="0" data-language="{escape(language)}"><code>{lines}</code></pre>'
