"""The README's promises that a test can hold: its first two shell blocks set up a fresh machine and run the tests."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_first_two_blocks_are_one_command_each() -> None:
    for block in BLOCKS[:2]:
        text = block.strip().replace("\\\n", " ")
        assert "\n" not in text
        assert ";" not in text
        subprocess.run(["bash", "-n", "-c", text], check=True)


def test_the_first_block_ends_in_the_demo_and_the_second_runs_the_tests() -> None:
    assert BLOCKS[0].strip().endswith("netdoctor demo")
    assert "pytest" in BLOCKS[1]
    assert "-n 2" in BLOCKS[1]


def test_only_the_package_manager_needs_root() -> None:
    for command in re.split(r"&&", BLOCKS[0].replace("\\\n", " ")):
        if "sudo" in command:
            assert "apt-get" in command


def test_linked_files_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)", README)
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
