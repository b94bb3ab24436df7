"""Personalities: the choices of an emulator where the behaviour of the provider is not known."""

from collections.abc import Mapping


def personality_of(choices: Mapping[str, tuple[str, ...]], chosen: Mapping[str, str] | None) -> Mapping[str, str]:
    """The value of every personality in ``choices``: the one in ``chosen``, else the first, which is the default.

    Raises ``ValueError`` for a name or a value that ``choices`` does not have.
    """
    chosen = chosen or {}
    for name, value in chosen.items():
        if value not in choices.get(name, ()):
            offered = "; ".join(f"{known}: {', '.join(values)}" for known, values in choices.items())
            raise ValueError(f"this emulator has no personality {name}={value}; it has {offered or 'none'}")
    return {name: chosen.get(name, values[0]) for name, values in choices.items()}
