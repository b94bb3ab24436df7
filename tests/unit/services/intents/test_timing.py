"""The durations of the create promise are consistent with each other."""

from gateway.services.intents.context import LOOK_SECONDS, settling_lease
from gateway.settings import CreatesSettings


def test_settling_lease_is_as_long_as_settling_takes() -> None:
    assert settling_lease(CreatesSettings()) == CreatesSettings().lease_margin + 2 * LOOK_SECONDS


def test_settling_lease_is_short_where_the_wait_out_is_short() -> None:
    assert settling_lease(CreatesSettings(wait_out=2, lease_margin=1)) == 3
