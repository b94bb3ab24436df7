"""Moves of runtimes between providers (docs/moves.md): the plan, its application, and where runtimes have gone."""
