"""The house's rules that no linter knows: what may be imported when, and that every module says what it is."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path for folder in ("netdoctor", "checks", "reports") for path in (ROOT / folder).rglob("*.py") if path.is_file()
)
MODULES = [path for path in SOURCES if not path.is_relative_to(ROOT / "netdoctor" / "checks")]
HEAVY = ("pyroute2", "scapy", "iptc", "jinja2", "rich", "asyncio", "importlib.metadata")
START = """
import sys
from netdoctor.cli import main
try:
    main(sys.argv[1:])
except SystemExit as left:
    code = left.code
print("loaded:", *[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_every_module_says_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring, "no docstring"
    first = docstring.splitlines()[0]
    assert first[0].isupper() or not first[0].isalpha() or " " in first


@pytest.mark.parametrize("path", SOURCES + sorted((ROOT / "tests").rglob("*.py")), ids=relative)
def test_nobody_imports_a_second_copy(path: Path) -> None:
    """`import checks` loads the same file under another name: two copies of every class."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported.add(node.module.split(".")[0])
    assert not imported & {"checks", "reports"}


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["check", "--help"]], ids=" ".join)
def test_starting_loads_no_heavy_library(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START.format(heavy=HEAVY), *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "loaded:"


def test_a_check_loads_no_heavy_library(world) -> None:  # type: ignore[no-untyped-def]
    """Start-up is most of a check: the writers' libraries are for fix and build."""
    target = world.name("ns1")
    command = [sys.executable, "-c", START.format(heavy=HEAVY[:5]), "check", target, "--format", "json"]
    inside = ["ip", "netns", "exec", world.name("host"), *command]
    done = subprocess.run(inside, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    assert done.stderr.splitlines()[-1] == "loaded:"
