"""The runtime's parts by kind."""

from gateway.domain.runtime import PARTS, Runtime
from gateway.domain.values import Kind


def test_every_kind_has_a_part_that_is_a_member_of_a_runtime() -> None:
    assert set(PARTS) == set(Kind)
    assert set(PARTS.values()) <= set(Runtime.__struct_fields__)
