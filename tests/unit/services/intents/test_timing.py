"""The times of the create promise fit each other."""

from gateway.services.intents.timing import LOOK_SECONDS, settling_lease
from gateway.settings import CreatesSettings


def test_a_settler_that_dies_keeps_a_create_from_others_no_longer_than_settling_takes() -> None:
    assert settling_lease(CreatesSettings()) == CreatesSettings().lease_margin + 2 * LOOK_SECONDS


def test_where_providers_are_given_little_time_settling_has_little_too() -> None:
    assert settling_lease(CreatesSettings(wait_out=2, lease_margin=1)) == 3
