"""Stock kernels for the tests of this folder."""

from __future__ import annotations

import pytest

from tests.unit.kernel.stock import StockKernel, checked, parametrize


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc)


@pytest.fixture(scope="session")
def stock(request: pytest.FixtureRequest) -> StockKernel:
    return checked(request.param)
