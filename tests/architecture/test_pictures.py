"""The pictures in the documentation: they say what the code says, and can be read in light and dark, and aloud."""

import re
from pathlib import Path
from xml.etree.ElementTree import Element, parse

import pytest
from markdown_it import MarkdownIt

from gateway.domain.intents import IntentState
from gateway.domain.lifecycle import TRANSITIONS, Verb, is_live
from gateway.domain.moves import MoveState
from gateway.domain.values import State

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
DRAWN = ("data-plane", "lost-create", "moves", "request", "states")
SVG = "{http://www.w3.org/2000/svg}"


def drawn(name: str) -> Element:
    return parse(PICTURES / f"{name}.svg").getroot()  # noqa: S314 - a file of this repository


def texts(picture: Element) -> list[str]:
    return [text.text or "" for text in picture.iter(f"{SVG}text")]


def states(picture: Element) -> list[str]:
    groups = [group for group in picture.iter(f"{SVG}g") if group.get("class") == "state"]
    assert [group.get("id") for group in groups] == [text.text for group in groups for text in group.iter(f"{SVG}text")]
    return sorted(str(group.get("id")) for group in groups)


@pytest.mark.parametrize("name", DRAWN)
def test_picture_can_be_read_aloud_and_in_light_and_dark(name: str):
    picture = drawn(name)
    assert [child.tag for child in picture][:3] == [f"{SVG}title", f"{SVG}desc", f"{SVG}style"]
    assert all(child.text for child in picture[:3])
    assert "prefers-color-scheme: dark" in str(picture[2].text)


@pytest.mark.parametrize("name", DRAWN)
def test_picture_loads_nothing_and_runs_nothing(name: str):
    assert not [
        part for part in drawn(name).iter() if part.tag in {f"{SVG}script", f"{SVG}image", f"{SVG}foreignObject"}
    ]
    content = (PICTURES / f"{name}.svg").read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|href|@import|@font-face| on\w+=", content)


def test_states_of_a_runtime_are_those_of_the_code():
    assert states(drawn("states")) == sorted(State)


def test_arrows_of_verbs_begin_where_the_verb_is_possible():
    """Each state from which such a verb is possible has its arrow, ``unknown`` apart."""
    found: dict[str, set[str]] = {}
    for arrow in drawn("states").iter(f"{SVG}path"):
        if arrow.get("data-verb"):
            found.setdefault(str(arrow.get("data-verb")), set()).update(str(arrow.get("data-from")).split())
    assert found == {
        verb: {state for state in TRANSITIONS[verb].works_from if state is not State.UNKNOWN}
        for verb in (Verb.START, Verb.PAUSE, Verb.RESUME, Verb.STOP)
    }


def test_verbs_lead_to_states_in_which_they_have_no_further_effect():
    for arrow in drawn("states").iter(f"{SVG}path"):
        if arrow.get("data-verb"):
            assert arrow.get("data-to") in TRANSITIONS[Verb(str(arrow.get("data-verb")))].satisfied_by


def test_states_that_hold_no_name_are_those_of_the_group():
    description = next(drawn("states").iter(f"{SVG}desc")).text
    assert "Stopped and failed have ended and hold no name" in str(description)
    assert {state for state in State if not is_live(state)} == {State.STOPPED, State.FAILED}


def test_states_of_a_move_are_those_of_the_code():
    assert states(drawn("moves")) == sorted(MoveState)


def test_lost_create_names_states_that_exist():
    shown = texts(drawn("lost-create"))
    for state in (IntentState.OPEN, IntentState.UNKNOWN, IntentState.DONE):
        assert [text for text in shown if re.fullmatch(rf"{state}(, .*)?", text)], state


def test_layers_of_a_request_are_folders():
    layers = {
        text.replace("NAME", "durable") for text in texts(drawn("request")) if re.match(r"(gateway|adapters)/", text)
    }
    assert len(layers) == 6
    assert [layer for layer in layers if not (ROOT / layer).is_dir()] == []


def test_screenshots_are_small():
    shots = sorted(PICTURES.glob("*.png"))
    assert [shot.stem for shot in shots] == ["fleet", "quickstart", "sick-provider"]
    assert all(shot.stat().st_size < 150_000 for shot in shots)


def test_every_picture_that_is_shown_exists_and_has_a_text():
    markdown, shown = MarkdownIt("commonmark"), set()
    for page in [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]:
        for token in markdown.parse(page.read_text("utf-8")):
            for child in token.children or ():
                if child.type == "image":
                    target = (page.parent / str(child.attrGet("src"))).resolve()
                    assert target.is_file(), f"{page.name}: {target}"
                    assert len(child.content) > 20, f"{page.name}: {target.name} has no text"
                    shown.add(target)
    assert {PICTURES / f"{name}.svg" for name in DRAWN} <= shown
