"""Every page, promise and fault case that code, tests or documentation cite exists, and the tests that pages name."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.test_docs import DOCS, PAGES, ROOT, TEXTS, anchors

FOLDERS = ("gateway", "adapters", "tests", "benchmarks")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
PAGE = re.compile(r"\bdocs/([\w/-]+\.md)(?:#([\w-]+))?")
CITED_FILE = re.compile(r"`((?:gateway|adapters|tests|benchmarks)/[\w/.-]*\w)(?:/?`|::)")
CITED_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
EXAMPLES = re.compile(r"adapters/NAME\b|tests/(unit/adapters|conformance)/lagoon")  # any, and the one of the guide
DANGLING = re.compile(r"specification\s§|[Pp]romise\sP\d|\(P\d+\)|[Ss]eed\s00\d|\bCases?\s\d")
PROMISES = {f"p{number}" for number in range(1, 13)}
FAULT_CASES = {f"fault-{number}" for number in range(24)}


def cited_pages(path: Path) -> Iterator[tuple[str, str]]:
    """The pages, each with its anchor or an empty string, that a file names by their path in the repository."""
    yield from PAGE.findall(path.read_text("utf-8"))


def test_every_page_and_anchor_that_a_file_cites_exists():
    missing = [
        f"{path.relative_to(ROOT)} cites docs/{page}{anchor and '#' + anchor}"
        for path in [*SOURCES, *TEXTS]
        for page, anchor in cited_pages(path)
        if not (DOCS / page).is_file() or (anchor and anchor not in anchors(DOCS / page))
    ]
    assert not missing


def test_every_promise_and_every_fault_case_has_its_section():
    assert anchors(DOCS / "promises.md") - {"promises"} == PROMISES
    assert anchors(DOCS / "fault-cases.md") - {"fault-cases"} == FAULT_CASES


def test_every_promise_and_every_fault_case_names_tests():
    for page in ("promises.md", "fault-cases.md"):
        _, *sections = re.split(r"^## ", (DOCS / page).read_text("utf-8"), flags=re.MULTILINE)
        for section in sections:
            tests = section.partition("Tests")[2]
            assert re.search(r"`tests/", tests), section.partition("\n")[0]


def test_every_file_that_a_page_names_exists():
    missing = [
        f"{page.relative_to(ROOT)} names {cited}"
        for page in PAGES
        for cited in CITED_FILE.findall(page.read_text("utf-8"))
        if not EXAMPLES.match(cited) and not (ROOT / cited).exists()
    ]
    assert not missing


def test_every_test_that_a_page_names_exists():
    missing = [
        f"{page.relative_to(ROOT)} names {path}::{name}"
        for page in PAGES
        for path, name in CITED_TEST.findall(page.read_text("utf-8"))
        if not re.search(rf"def {name}\(", (ROOT / path).read_text("utf-8"))
    ]
    assert not missing


def test_no_file_cites_a_document_outside_of_the_repository():
    """Promises and fault cases are cited as ``docs/promises.md#p4`` and ``docs/fault-cases.md#fault-14``."""
    found = [
        f"{path.relative_to(ROOT)}:{number} {line.strip()}"
        for path in [*SOURCES, *TEXTS]
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if DANGLING.search(line)
    ]
    assert not found
