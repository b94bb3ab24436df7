"""Follows every link, anchor and picture of the documentation that a gateway serves, and looks at its headers."""

import re
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urljoin, urlsplit

import pytest

from gateway.api.openapi import openapi_document
from tests.component.processes import ROOT
from tests.component.whole_gateway import Gateway, whole_gateway

BROWSER: Final = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
TARGET: Final = re.compile(r'(?:href|src)="([^"]*)"')


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with whole_gateway("durable") as running:
        yield running


async def crawled(gateway: Gateway, *starts: str) -> tuple[dict[str, str], set[tuple[str, str, str]]]:
    """The text of every page and file that links lead to, and all links: page, path and anchor."""
    pending, seen, links = list(starts), dict[str, str](), set[tuple[str, str, str]]()
    while pending:
        path = pending.pop()
        if path in seen:
            continue
        response = await gateway.call("GET", path, **BROWSER)
        assert response.status == 200, (path, {page for page, target, _ in links if target == path})
        policy = response.headers.get("Content-Security-Policy", "")
        assert ("default-src 'none'" in policy and "unsafe-" not in policy) or path == "/openapi.json", path
        seen[path] = response.text
        if not response.headers["Content-Type"].startswith("text/html"):
            continue
        assert not re.search(r"<style|<script(?! type=\"module\" src=)| style=| on\w+=", response.text), path
        for target in TARGET.findall(response.text):
            parts = urlsplit(urljoin(path, target))
            if not parts.netloc:
                links.add((path, parts.path, parts.fragment))
                pending.append(parts.path)
    return seen, links


async def test_every_link_anchor_and_picture_leads_somewhere(gateway: Gateway) -> None:
    seen, links = await crawled(gateway, "/docs", "/docs/errors/not_found")
    assert {f"/docs/{page.stem}" for page in (ROOT / "docs").rglob("*.md")} - {"/docs/index"} <= seen.keys()
    assert {("/docs", f"/docs/{name}", "") for name in ("bctrl", "bctrl_browsers", "durable")} <= links
    assert {f"/docs/assets/{picture.name}" for picture in (ROOT / "docs/pictures").glob("*.svg")} <= seen.keys()
    anchors = {path: set(re.findall(r' id="([^"]+)"', text)) for path, text in seen.items()}
    missing = {(page, path, anchor) for page, path, anchor in links if anchor and anchor not in anchors[path]}
    assert not missing
    for path, text in seen.items():
        if path.startswith("/docs") and "/assets/" not in path:
            ids = re.findall(r' id="([^"]+)"', text)
            assert len(set(ids)) == len(ids), path


async def test_the_search_leads_to_sections_and_operations_that_exist(gateway: Gateway) -> None:
    index = (await gateway.call("GET", "/docs/assets/search.json")).json
    operations = {op["operationId"] for methods in openapi_document()["paths"].values() for op in methods.values()}
    targets = [target for target, *_ in index]
    assert {f"reference#{operation}" for operation in operations} <= set(targets)
    pages = {target.partition("#")[0] for target in targets}
    texts = {page: (await gateway.call("GET", f"/docs/{page}")).text for page in pages}
    for target in targets:
        page, _, anchor = target.partition("#")
        assert not anchor or (page == "reference" and anchor in operations) or f' id="{anchor}"' in texts[page], target


@pytest.mark.parametrize("path", ["/docs/none", "/docs/errors/none", "/nowhere", "/docs/assets/none.js"])
async def test_an_unknown_path_is_a_page_for_browsers_and_a_problem_for_programs(gateway: Gateway, path: str) -> None:
    page = await gateway.call("GET", path, **BROWSER)
    assert (page.status, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert '<input type="search"' in page.text
    assert '<a href="/docs/quickstart">' in page.text
    assert "unsafe-" not in page.headers["Content-Security-Policy"]
    assert "Accept" in page.headers["Vary"]
    problem = await gateway.call("GET", path, Accept="application/json")
    assert (problem.status, problem.json["code"]) == (404, "not_found")


async def test_a_call_of_the_api_answers_a_browser_with_a_problem(gateway: Gateway) -> None:
    for path in ("/v1/nowhere", "/v1/runtimes/durable-demo.x"):
        answer = await gateway.call("GET", path, **BROWSER)
        assert (answer.status, answer.headers["Content-Type"]) == (404, "application/problem+json")


async def test_pages_are_validated_by_their_tags_and_compressed(gateway: Gateway) -> None:
    for path in ("/docs", "/docs/api", "/docs/assets/search.json", "/console/app.js"):
        first = await gateway.call("GET", path, **{"Accept-Encoding": "gzip"})
        plain = await gateway.call("GET", path, **{"Accept-Encoding": "identity"})
        assert (first.status, first.headers["Cache-Control"], first.text) == (200, "no-cache", plain.text)
        assert first.headers["Vary"] == "Accept-Encoding"
        assert ("Content-Encoding" in first.headers) is path.startswith("/docs")
        assert "Content-Encoding" not in plain.headers
        again = await gateway.call("GET", path, **{"If-None-Match": first.headers["ETag"]})
        assert (again.status, again.text) == (304, "")
        changed = await gateway.call("GET", path, **{"If-None-Match": '"another"'})
        assert changed.status == 200
