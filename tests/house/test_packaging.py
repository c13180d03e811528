"""The house's packaging: every folder is shipped, each file once, and the two links are links."""

import importlib.util
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINKS = ("checks", "reports")


def git(*arguments: str) -> str:
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"not a git checkout: {done.stderr.strip()}")
    return done.stdout


def test_the_packages_listed_are_the_folders() -> None:
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "netdoctor").rglob("__init__.py")}
    folders |= {Path("netdoctor", name) for name in LINKS}
    folders |= {
        Path("netdoctor", name, path.parent.relative_to(ROOT / name))
        for name in LINKS
        for path in (ROOT / name).rglob("__init__.py")
    }
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(".".join(folder.parts) for folder in folders)


@pytest.mark.parametrize("name", LINKS)
def test_the_links_are_relative_links(name: str) -> None:
    link = ROOT / "netdoctor" / name
    assert link.is_symlink()
    assert str(link.readlink()) == f"../{name}"
    assert git("ls-files", "-s", f"netdoctor/{name}").startswith("120000 ")


def test_the_version_is_said_once() -> None:
    text = (ROOT / "netdoctor" / "__init__.py").read_text()
    assert f'__version__ = "{PROJECT["project"]["version"]}"' in text


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built from a clean copy of what git tracks."""
    if importlib.util.find_spec("build") is None or int(version("setuptools").split(".")[0]) < 77:
        pytest.skip("needs build and setuptools >= 77: pip install -e '.[test]'")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in git("ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if name.startswith(("netdoctor", "checks", "reports", "pyproject", "README", "LICENSE")):
            copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


def copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        to.symlink_to(path.readlink())
    elif path.exists():
        to.write_bytes(path.read_bytes())


def expected() -> set[str]:
    """Every module and template, by its path inside the installed package."""
    own = {path.relative_to(ROOT) for path in (ROOT / "netdoctor").rglob("*.py")}
    shared = {Path("netdoctor", path.relative_to(ROOT)) for name in LINKS for path in (ROOT / name).rglob("*.py")}
    templates = {Path("netdoctor", path.relative_to(ROOT)) for path in (ROOT / "reports" / "templates").glob("*")}
    return {path.as_posix() for path in own | shared | templates} | {"netdoctor/py.typed"}


def test_the_wheel_holds_each_file_once(built: Path) -> None:
    names = zipfile.ZipFile(next(built.glob("*.whl"))).namelist()
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert {name for name in names if ".dist-info/" not in name} == expected()


def test_the_sdist_holds_each_file_once(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    files = {name for name in names if name.endswith(".py") and name != "setup.py"}
    assert files == {path.relative_to(ROOT).as_posix() for path in shipped_sources()}


def shipped_sources() -> set[Path]:
    folders = (ROOT / "netdoctor", ROOT / "checks", ROOT / "reports")
    return {path for folder in folders for path in folder.rglob("*.py") if not through_link(path)}


def through_link(path: Path) -> bool:
    return path.is_relative_to(ROOT / "netdoctor" / "checks") or path.is_relative_to(ROOT / "netdoctor" / "reports")
