"""One check of the personalities of every emulator."""

import pytest

from adapters.registry import discover
from gateway.ports.plugin import AdapterPlugin
from gateway.testing.personality import personality_of

CHOICES = {"names": ("unique", "free"), "keys": ("remembered", "forgotten")}
PLUGINS = list(discover().values())


def test_a_personality_that_is_not_chosen_has_its_first_value():
    assert personality_of(CHOICES, None) == {"names": "unique", "keys": "remembered"}
    assert personality_of(CHOICES, {"keys": "forgotten"}) == {"names": "unique", "keys": "forgotten"}


@pytest.mark.parametrize("chosen", [{"names": "odd"}, {"mood": "unique"}, {"names": "free", "keys": "free"}])
def test_an_unknown_name_or_value_is_refused_with_what_is_offered(chosen: dict[str, str]):
    with pytest.raises(ValueError, match=r"no personality .*; it has names: unique, free; keys: remembered, forgotten"):
        personality_of(CHOICES, chosen)


def test_an_emulator_without_personalities_refuses_all():
    assert personality_of({}, {}) == {}
    with pytest.raises(ValueError, match="no personality mood=good; it has none"):
        personality_of({}, {"mood": "good"})


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.api)
def test_a_plugin_shows_the_personalities_that_its_emulator_declares(plugin: AdapterPlugin):
    assert plugin.personalities
    assert all(len(set(values)) == len(values) > 1 for values in plugin.personalities.values())
