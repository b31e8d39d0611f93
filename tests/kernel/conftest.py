"""One virtual machine per kernel version for all kernel tests; where it cannot boot they fail, never skip."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui.lab import Lab
from tests.kernel.harness import VERSIONS, Captured, capture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session", params=VERSIONS)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The lab of one kernel version: booted when first needed, shared by all tests, gone before the next."""
    with Lab(request.param, cpus=2) as running:  # packets that change CPUs are what much is about
        yield running


@pytest.fixture(name="capture")
def capture_in_lab(lab: Lab) -> Callable[..., Captured]:
    """``capture(["-i", "ip_rcv", ...], traffic="ping -c 3 127.0.0.1")``: see ``harness.capture``."""
    return partial(capture, lab)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder as ``kernel``."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.kernel)
