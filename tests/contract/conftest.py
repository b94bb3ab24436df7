"""The subject of the adapter contract: each adapter with the real transport, in every personality of its emulator."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.adapter.contract import AdapterContract, Setup, Subject, setups, subject_of


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.cls is not None and issubclass(metafunc.cls, AdapterContract) and "subject" in metafunc.fixturenames:
        found = list(setups(metafunc.cls.plugin))
        metafunc.parametrize("subject", found, indirect=True, ids=[setup.label for setup in found])


@pytest.fixture
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    contract, setup = request.instance, request.param
    assert isinstance(contract, AdapterContract)
    assert isinstance(setup, Setup)
    async with subject_of(contract, setup) as made:
        yield made
