"""The documentation as web pages."""

import re
from pathlib import Path

import pytest

from gateway.api.docs_site import DocsSite, docs_folder, error_row, swagger_folder
from gateway.domain.errors import NotFound, error_classes

SITE = DocsSite()


def text(body: bytes) -> str:
    return body.decode()


def test_the_index_links_every_page() -> None:
    index = text(SITE.index().body)
    for path in docs_folder().glob("*.md"):
        assert f'href="/docs/{path.stem}"' in index


def test_links_between_pages_point_to_the_served_paths(tmp_path: Path) -> None:
    (tmp_path / "one.md").write_text("# One\n\n## Part A\n[two](two.md#x) [out](https://e.example) [gone](../a.md) <b>")
    (tmp_path / "two.md").write_text("# Two\n")
    page = text(DocsSite(tmp_path).page("one").body)
    assert 'href="/docs/two#x"' in page
    assert 'href="https://e.example"' in page
    assert "../a.md" not in page
    assert '<h2 id="part-a">' in page
    assert "&lt;b&gt;" in page


@pytest.mark.parametrize("cls", list(error_classes()), ids=lambda cls: cls.code)
def test_every_error_code_has_a_page_with_an_action(cls: type) -> None:
    page = text(SITE.error(cls.code).body)  # type: ignore[attr-defined]
    for column in ("cause", "whose fault", "retry?", "what to do", "<code>/durable</code>"):
        assert f"<th>{column}</th>" in page


def test_no_page_loads_anything_from_another_host() -> None:
    pages = [SITE.index(), SITE.explorer(), *(SITE.page(path.stem) for path in docs_folder().glob("*.md"))]
    for page in pages:
        loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]+)"', text(page.body))
        assert loaded
        assert all(target.startswith("/docs/assets/") for target in loaded)
        for target in loaded:
            assert SITE.asset(target.removeprefix("/docs/assets/")).body


@pytest.mark.parametrize("name", ["../auth.py", "LICENSE", "swagger-editor.js", "", "docs.css/", "swagger-ui.js"])
def test_only_the_files_that_the_pages_need_are_served(name: str) -> None:
    with pytest.raises(NotFound):
        SITE.asset(name)


@pytest.mark.parametrize("name", ["", "nope", "../api", "api.md"])
def test_unknown_pages_and_codes_are_not_found(name: str) -> None:
    with pytest.raises(NotFound):
        SITE.page(name)
    with pytest.raises(NotFound):
        SITE.error(name)


def test_swagger_ui_is_found_without_importing_its_package() -> None:
    folder = swagger_folder()
    assert folder is not None
    assert (folder / "swagger-ui-bundle.js").is_file()


def test_a_page_is_rendered_once() -> None:
    assert SITE.page("errors") is SITE.page("errors")


def test_a_code_that_is_not_in_the_table_has_no_row() -> None:
    assert error_row("| code | cause |\n|---|---|\n| `a` | b |", "x") == ([], [])
    assert error_row("| code | cause |\n|---|---|\n| `a` | b |", "a") == (["cause"], ["b"])


def test_the_rows_of_a_code_in_several_tables_are_joined() -> None:
    tables = "| code | cause |\n|---|---|\n| `a` | b |\n\n| code | here | there |\n|---|---|---|\n| `a` | 1 | 2 |"
    assert error_row(tables, "a") == (["cause", "here", "there"], ["b", "1", "2"])
