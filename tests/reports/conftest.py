"""Golden files: rendered reports that are read by people. Refresh with --update-golden and look at the difference."""

from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent.parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """golden(name, text): the text is what tests/golden/name holds."""
    update = bool(request.config.getoption("--update-golden", default=False))

    def compare(name: str, text: str) -> None:
        file = GOLDEN / name
        if update:
            file.write_text(text, encoding="utf-8")
        assert file.exists(), f"{file} is missing: run pytest tests/reports --update-golden"
        assert text == file.read_text(encoding="utf-8")

    return compare
