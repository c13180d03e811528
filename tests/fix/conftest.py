"""The fixture of the repair tests."""

from collections.abc import Iterator

import pytest
from fix.repair_world import World


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    try:
        made.up()
        yield made
    finally:
        made.down()
