"""The documentation covers everything that the code defines, and its links and examples work."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from ruamel.yaml import YAML

from gateway.api.docs_site import DocsSite
from gateway.app import plugins
from gateway.domain.errors import Source, error_classes
from gateway.domain.lifecycle import Verb
from gateway.domain.runtime import Runtime
from gateway.domain.values import CreateFeature, Feature, Kind, Operation, State
from gateway.telemetry.logs import Event
from gateway.telemetry.metrics import Metrics
from tests import generated_docs
from tests.architecture.test_adapter_folders import FILES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = [*PAGES, *sorted((ROOT / "adapters").glob("*/README.md")), *sorted(ROOT.glob("*.md"))]
MARKDOWN = MarkdownIt("commonmark").enable("table")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text(page: str) -> str:
    return (DOCS / page).read_text("utf-8")


def tokens(path: Path) -> Iterator[Token]:
    for token in MARKDOWN.parse(path.read_text("utf-8")):
        yield token
        yield from token.children or ()


def links(path: Path) -> Iterator[str]:
    """Yield the relative links and pictures of a page."""
    for token in tokens(path):
        target = str(token.attrGet("href") or token.attrGet("src") or "")
        if target and not re.match(r"[a-z]+:|/", target):
            yield target


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, which are the same on GitHub and on the gateway's own pages."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_index_links_to_every_page(path: Path):
    linked = {(DOCS / target.partition("#")[0]).resolve() for target in links(DOCS / "index.md")}
    assert path in linked | {DOCS / "index.md"}


def test_sidebar_has_every_page_exactly_once():
    """The sections of the index are the groups of the sidebar, and their links its pages in reading order."""
    groups = DocsSite(DOCS).groups
    assert list(groups) == ["Start", "Use", "Operate", "Understand", "Reference", "Decisions"]
    pages = [page for group in groups.values() for _, page in group]
    readmes = [path.parent.name for path in TEXTS if path.match("adapters/*/README.md")]
    assert sorted(["index", *(page for page in pages if page not in readmes)]) == sorted(path.stem for path in PAGES)
    assert len(set(pages)) == len(pages)
    assert pages[0] == "quickstart"


@pytest.mark.parametrize("path", TEXTS, ids=named)
def test_every_relative_link_has_a_target(path: Path):
    for target in links(path):
        page, _, anchor = target.partition("#")
        linked = (path.parent / page).resolve() if page else path
        assert linked.exists(), f"{named(path)} links to {target}"
        assert linked.is_relative_to(ROOT), f"{named(path)} links out of the repository: {target}"
        if anchor:
            assert anchor in anchors(linked), f"{named(path)} links to {target}, a heading that does not exist"


@pytest.mark.parametrize("path", TEXTS, ids=named)
def test_every_page_begins_with_its_title(path: Path):
    assert path.read_text("utf-8").startswith("# ")


def test_generated_tables_are_up_to_date():
    """Each table is on exactly one page."""
    found = []
    for path in PAGES:
        page = path.read_text("utf-8")
        found += re.findall(r"\(generated: (\w+)\)", page)
        assert generated_docs.with_tables(page) == page, f"run: make docs ({named(path)})"
    assert sorted(found) == sorted(generated_docs.BLOCKS)


def test_manual_edit_of_a_generated_table_is_detected():
    page = text("model.md")
    edited = page.replace("| `create_idle` |", "| `create_idle` | yes |")
    assert edited != page
    assert generated_docs.with_tables(edited) == generated_docs.with_tables(page) != edited


@pytest.mark.parametrize("word", [*Kind, *State, *Verb, *Feature, *CreateFeature, *Runtime.__struct_fields__], ids=str)
def test_every_word_of_the_model_is_documented(word: str):
    assert f"`{word}`" in text("model.md")


@pytest.mark.parametrize("operation", Operation, ids=str)
def test_every_operation_has_its_deadline_on_the_settings_page(operation: Operation):
    assert f"`{operation}`" in text("settings.md")


@pytest.mark.parametrize("event", Event, ids=str)
def test_every_log_event_is_in_the_runbook_and_on_the_metrics_page(event: Event):
    assert f"`{event}`" in text("runbook.md")
    assert f"`{event}`" in text("metrics.md")


def test_every_error_is_documented_and_in_the_runbook_unless_the_client_caused_it():
    """The table of errors has all codes, the runbook those whose source is not the client."""
    for cls in error_classes():
        assert f"| `{cls.code}` |" in text("errors.md")
        if cls.default_source is not Source.CLIENT:
            assert f"| `{cls.code}` |" in text("runbook.md")


def test_every_metric_is_documented_and_no_unknown_metric_is_named():
    existing = {
        name
        for family in Metrics().registry.collect()
        for name in (family.name, f"{family.name}_total", f"{family.name}_bucket")
    }
    documented = {family.name for family in Metrics().registry.collect()}
    page = text("metrics.md")
    assert all(f"`{name}`" in page or f"`{name}_total`" in page for name in documented)
    for path in PAGES:
        assert set(re.findall(r"\brtgw_\w+", path.read_text("utf-8"))) <= existing, named(path)


def test_every_make_target_is_documented():
    """Nobody uses a command that is not documented."""
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    everything = "".join(path.read_text("utf-8") for path in TEXTS)
    assert targets
    assert not [target for target in targets if f"make {target}" not in everything]


def test_every_documented_make_target_exists():
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for path in TEXTS:
        used = set(re.findall(r"(?:`|^)make ([a-z-]+)", path.read_text("utf-8"), re.MULTILINE))
        assert used <= targets, named(path)


@pytest.mark.parametrize("path", [path for path in PAGES if path.parent.name == "adr"], ids=named)
def test_decision_has_its_number_status_and_sections(path: Path):
    decision = path.read_text("utf-8")
    number, _, _ = path.stem.partition("-")
    assert decision.startswith(f"# {int(number)}. ")
    assert re.search(r"^Status: (proposed|accepted|superseded by \[\d+\])", decision, re.MULTILINE)
    assert re.findall(r"^## (.+)$", decision, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def examples() -> Iterator[Any]:
    for path in TEXTS:
        for token in tokens(path):
            if token.type == "fence" and token.info.startswith("yaml"):
                document = YAML(typ="safe").load(token.content)
                for name, provider in (document or {}).get("providers", {}).items():
                    yield pytest.param(name, provider, id=f"{named(path)}-{name}")


@pytest.mark.parametrize(("name", "provider"), list(examples()))
def test_provider_in_an_example_is_valid(name: str, provider: dict[str, Any]):
    plugins()[provider["api"]].settings.model_validate({"name": name, **provider})


def test_adapter_guide_names_every_protocol_method_and_file():
    """Every protocol with its feature, and every file that an adapter folder must have."""
    guide = text("adding-a-provider.md")
    ports = (ROOT / "gateway/ports/provider.py").read_text("utf-8")
    for protocol, feature in re.findall(r"\((Supports\w+), Feature\.(\w+)\)", ports):
        assert f"| `{protocol}` | `{Feature[feature]}`" in guide
    for method in re.findall(r"@abstractmethod\n +(?:async )?def (\w+)", ports):
        assert f"`{method}`" in guide
    for path in FILES:
        assert f"| `{path}` |" in guide or f"| `{path}/` |" in guide
