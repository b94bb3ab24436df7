"""The documentation as web pages."""

import json
import re
from pathlib import Path

import pytest

from gateway.api.docs_site import DocsSite, docs_folder, error_row
from gateway.domain.errors import NotFound, error_classes

SITE = DocsSite()


def text(body: bytes) -> str:
    return body.decode()


def site(folder: Path, **pages: str) -> DocsSite:
    """A site of pages with these names and texts."""
    for name, page in pages.items():
        (folder / f"{name}.md").write_text(page)
    return DocsSite(folder)


def test_the_sidebar_has_the_pages_of_the_index_in_its_order(tmp_path: Path) -> None:
    index = "# Home\n\n## Begin\n\n- [Two](two.md): b\n- [One](one.md)\n\n## Decide\n\n1. [Why](adr/0001-why.md)\n"
    (tmp_path / "adr").mkdir()
    (tmp_path / "adr/0001-why.md").write_text("# 1. Why\n\nSee [one](../one.md).\n")
    pages = site(tmp_path, index=index, one="# One\n", two="# Two\n")
    assert pages.groups == {"Begin": [("Two", "two"), ("One", "one")], "Decide": [("Why", "0001-why")]}
    one = text(pages.page("one").body)
    assert '<a href="/docs/one" aria-current="page">One</a>' in one
    assert '<a rel="prev" href="/docs/two">' in one
    assert '<a rel="next" href="/docs/0001-why">' in one
    assert '<a href="/docs/one">one</a>' in text(pages.page("0001-why").body)
    assert "aria-current" not in text(pages.page("index").body)


def test_a_long_group_is_folded_except_on_its_pages(tmp_path: Path) -> None:
    links = "".join(f"- [P{number}](p{number}.md)\n" for number in range(13))
    pages = site(tmp_path, index=f"# Home\n\n## Many\n\n{links}", p1="# P1\n")
    assert "<details><summary>Many" in text(pages.page("index").body)
    assert "<details open><summary>Many" in text(pages.page("p1").body)


def test_links_and_pictures_point_to_the_served_paths(tmp_path: Path) -> None:
    one = "# One\n\n## Part A\n[two](two.md#x) [out](https://e.example) [gone](../gone.md) <b> ![P](pictures/p.svg)"
    page = text(site(tmp_path, one=one, two="# Two\n").page("one").body)
    assert 'href="/docs/two#x"' in page
    assert 'href="https://e.example"' in page
    assert "gone.md" not in page
    assert '<a href="/docs/assets/p.svg"><img src="/docs/assets/p.svg" alt="P" /></a>' in page
    assert '<h2 id="part-a">Part A<a class="anchor" href="#part-a" aria-label="Link to: Part A">#</a></h2>' in page
    assert '<li class="level2"><a href="#part-a">Part A</a></li>' in page
    assert "&lt;b&gt;" in page


def test_readme_of_an_adapter_is_a_page_with_links_both_ways() -> None:
    readme = text(SITE.page("bctrl").body)
    assert '<a href="/docs/bctrl_browsers">bctrl_browsers</a>' in readme
    assert 'href="/docs/glossary#parked"' in readme
    assert '<a href="/docs/bctrl" aria-current="page">bctrl</a>' in readme
    assert '<a href="/docs/bctrl">window that remains</a>' in text(SITE.page("model").body)


def test_code_breaks_between_the_parts_of_a_long_name_and_not_behind_a_hyphen(tmp_path: Path) -> None:
    one = "# One\n\n`serve --workers 2 -o <FILE>` `auth.keys` `http.max_idle_connections` `tests/component/test_a.py`\n"
    page = text(site(tmp_path, one=one).page("one").body)
    assert "<code>serve <span>--workers</span> 2 <span>-o</span> &lt;FILE&gt;</code>" in page
    assert "<code>auth.keys</code>" in page
    assert "<code>http.<wbr>max_<wbr>idle_<wbr>connections</code>" in page
    assert "<code>tests/<wbr>component/<wbr>test_<wbr>a.py</code>" in page


def test_columns_of_figures_have_a_class_instead_of_a_style(tmp_path: Path) -> None:
    page = text(site(tmp_path, one="# One\n\n| a | b |\n| --- | ---: |\n| x | 1 |\n").page("one").body)
    assert '<td class="number">1</td>' in page
    assert "style=" not in page


def test_only_pictures_of_the_folder_are_served(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/p.svg").write_text("<svg/>")
    (tmp_path / "pictures/p.txt").write_text("text")
    pages = site(tmp_path)
    assert pages.asset("p.svg")[:2] == (b"<svg/>", "image/svg+xml")
    for name in ("p.txt", "pictures/p.svg", "q.svg"):
        with pytest.raises(NotFound):
            pages.asset(name)


def test_the_first_use_of_a_term_is_linked_to_the_glossary_outside_of_code_headings_and_links(tmp_path: Path) -> None:
    one = "# Intents\n\n`intent` [intent](two.md) Two intents, an intent.\n\nOne intent, in its place.\n"
    pages = site(tmp_path, one=one, glossary="# Glossary\n\n## Intent\n\nAn intent.\n\n## Place\n\nA place.\n")
    page = text(pages.page("one").body)
    assert page.count('class="term"') == 1
    assert 'Two <a class="term" href="/docs/glossary#intent">intents</a>, an intent.' in page
    assert 'class="term"' not in text(pages.page("glossary").body)


def test_code_is_highlighted_and_escaped(tmp_path: Path) -> None:
    page = text(site(tmp_path, one='# One\n\n```json\n{"a": "<b>"}\n```\n').page("one").body)
    assert '<pre tabindex="0" data-language="json"><code><span class="p">{</span><span class="nt">"a"' in page
    assert "&lt;b&gt;" in page


def test_tables_scroll_in_a_box_of_their_own(tmp_path: Path) -> None:
    page = text(site(tmp_path, one="# One\n\n| a |\n|---|\n| b |\n").page("one").body)
    assert '<div class="scroll" tabindex="0"><table>' in page
    assert "</table></div>" in page


def test_the_search_finds_sections_by_their_words_and_operations(tmp_path: Path) -> None:
    one = "# One\n\nFirst\nline.\n\n## Part `a`\n\n| b | c |\n|---|---|\n| d | e |\n\n```sh\nrun\n```\n"
    (tmp_path / "one.md").write_text(one)
    operation = {"operationId": "getIt", "summary": "Get it", "description": "Now."}
    index = DocsSite(tmp_path, lambda: {"paths": {"/v1/it": {"get": operation}}}).asset("search.json")
    assert json.loads(index.body) == [
        ["one", "One", "One", "First line."],
        ["one#part-a", "One", "Part a", "b c d e run\n"],
        ["reference#getIt", "API reference", "Get it: GET /v1/it", "Now."],
    ]


def test_a_failure_is_a_page_with_links(tmp_path: Path) -> None:
    pages = site(tmp_path, index="# Home\n\n## Begin\n\n- [One](one.md)\n", one="# One\n")
    page = text(pages.failure(NotFound("No <page>.")).body)
    assert "<h1>Not found</h1><p>No &lt;page&gt;.</p>" in page
    assert page.count('<a href="/docs/one">One</a>') == 2


@pytest.mark.parametrize("cls", list(error_classes()), ids=lambda cls: cls.code)
def test_every_error_code_has_a_page_with_an_action(cls: type) -> None:
    page = text(SITE.error(cls.code).body)  # type: ignore[attr-defined]
    for column in ("cause", "whose fault", "retry?", "what to do", "<code>/durable</code>"):
        assert f"<th>{column}</th>" in page


def test_no_page_loads_anything_from_another_host() -> None:
    pages = [SITE.failure(NotFound("")), *(SITE.page(path.stem) for path in docs_folder().rglob("*.md"))]
    for page in pages:
        loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]+)"', text(page.body))
        assert loaded
        assert all(target.startswith("/docs/assets/") for target in loaded)
        for target in loaded:
            assert SITE.asset(target.removeprefix("/docs/assets/")).body


@pytest.mark.parametrize("name", ["../auth.py", "LICENSE", "page.html", "", "docs.css/", "openapi.json", "app.js"])
def test_only_the_files_that_the_pages_need_are_served(name: str) -> None:
    with pytest.raises(NotFound):
        SITE.asset(name)


@pytest.mark.parametrize("name", ["", "nope", "../api", "api.md"])
def test_unknown_pages_and_codes_are_not_found(name: str) -> None:
    with pytest.raises(NotFound):
        SITE.page(name)
    with pytest.raises(NotFound):
        SITE.error(name)


def test_a_page_is_rendered_once() -> None:
    assert SITE.page("errors") is SITE.page("errors")


def test_a_code_that_is_not_in_the_table_has_no_row() -> None:
    assert error_row("| code | cause |\n|---|---|\n| `a` | b |", "x") == ([], [])
    assert error_row("| code | cause |\n|---|---|\n| `a` | b |", "a") == (["cause"], ["b"])


def test_the_rows_of_a_code_in_several_tables_are_joined() -> None:
    tables = "| code | cause |\n|---|---|\n| `a` | b |\n\n| code | here | there |\n|---|---|---|\n| `a` | 1 | 2 |"
    assert error_row(tables, "a") == (["cause", "here", "there"], ["b", "1", "2"])
