"""The check of personalities that all emulators use."""

import pytest

from adapters.registry import discover
from gateway.ports.plugin import AdapterPlugin
from gateway.testing.exchange import personality_of

CHOICES = {"names": ("unique", "free"), "keys": ("remembered", "forgotten")}
PLUGINS = list(discover().values())


def test_personality_without_a_choice_has_its_first_value():
    assert personality_of(CHOICES, None) == {"names": "unique", "keys": "remembered"}
    assert personality_of(CHOICES, {"keys": "forgotten"}) == {"names": "unique", "keys": "forgotten"}


@pytest.mark.parametrize("chosen", [{"names": "odd"}, {"mood": "unique"}, {"names": "free", "keys": "free"}])
def test_unknown_name_or_value_is_refused_with_the_known_ones(chosen: dict[str, str]):
    with pytest.raises(ValueError, match=r"no personality .*; it has names: unique, free; keys: remembered, forgotten"):
        personality_of(CHOICES, chosen)


def test_emulator_without_personalities_refuses_every_choice():
    assert personality_of({}, {}) == {}
    with pytest.raises(ValueError, match="no personality mood=good; it has none"):
        personality_of({}, {"mood": "good"})


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.api)
def test_plugin_has_the_personalities_of_its_emulator(plugin: AdapterPlugin):
    assert plugin.personalities
    assert all(len(set(values)) == len(values) > 1 for values in plugin.personalities.values())
