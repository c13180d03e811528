"""The command line: bad input is one line and exit code 2, results have their exit codes, output is valid and whole."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jsonschema
import pytest
from lab import World, nobody
from lab.command import netdoctor, refused

COMMANDS = (
    "build", "check", "demo", "destroy", "explain", "fix", "list", "report", "schema", "snapshot", "undo",
)  # fmt: skip
BREAK_MASQUERADE = (
    "iptables-nft -t nat -F POSTROUTING; iptables-nft -t nat -A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE"
)


@pytest.fixture(scope="module")
def standing() -> Iterator[World]:
    """One healthy world for the tests that change nothing in it."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with World("veth") as world:
        yield world


@pytest.fixture
def state(tmp_path: Path) -> dict[str, str]:
    """An environment whose journals go with the test."""
    return {"NETDOCTOR_STATE_DIR": str(tmp_path / "state")}


# Words ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    done = netdoctor(command, "--help")
    assert done.returncode == 0 and not done.stderr
    assert done.stdout.startswith("Usage: ") and "Traceback" not in done.stdout


def test_version_and_help() -> None:
    from netdoctor import __version__

    assert netdoctor("--version").stdout == f"netdoctor {__version__}\n"
    said = netdoctor("--help").stdout
    assert all(f"\n  {command} " in said for command in COMMANDS)


def test_without_a_command_the_help_comes_and_exit_code_2() -> None:
    done = netdoctor()
    assert done.returncode == 2 and done.stderr.startswith("Usage: ") and "Traceback" not in done.stderr


BAD_WORDS = (
    (("bogus",), "No such command"),
    (("check",), "a namespace, --all, --from"),
    (("check", "ns1", "--all"), "one of"),
    (("check", "ns1", "--bogus"), "--bogus"),
    (("check", "ns1", "--format", "xml"), "xml"),
    (("check", "nd-no-such"), "no such network namespace"),
    (("check", "path:/etc/passwd"), "not a network namespace"),
    (("check", "path:here"), "absolute path"),
    (("check", "path:/no/such"), "does not exist"),
    (("check", "pid:one"), "pid:4242"),
    (("check", "pid:4194305"), "no such process"),
    (("check", "a/b"), "/run/netns"),
    (("check", "n" * 300), "too long"),
    (("check", "two\nlines\x1b[31m"), "two lines\\x1b[31m"),
    (("check", "host", "--to", "8.8.8.999"), "expected an IPv4"),
    (("check", "host", "--to", ""), "expected an IPv4"),
    (("check", "host", "--to", "two words"), "expected an IPv4"),
    (("check", "host", "--to", "a..b"), "expected an IPv4"),
    (("check", "host", "--to", "ns:nd-no-such"), "no such network namespace"),
    (("check", "host", "--to", "224.0.0.1"), "one host"),
    (("check", "host", "--to", "255.255.255.255"), "one host"),
    (("check", "host", "--to", "::"), "one host"),
    (("check", "host", "--to", "fe80::1%eth0"), "zone"),
    (("check", "host", "--port", "80"), "80/tcp"),
    (("check", "host", "--port", "0/tcp"), "1 to 65535"),
    (("check", "host", "--port", "65536/tcp"), "1 to 65535"),
    (("check", "host", "--port", "53/sctp"), "53/udp"),
    (("check", "host", "--port", "\u00b2/tcp"), "1 to 65535"),
    (("check", "host", "--port", "9" * 5000 + "/tcp"), "1 to 65535"),
    (("check", "host", "-o", "html"), "FMT=PATH"),
    (("check", "host", "-o", "pdf=x"), "FMT=PATH"),
    (("check", "host", "-o", "html=/no/such/folder/x.html"), "cannot write"),
    (("check", "host", "-o", "html=/"), "cannot write"),
    (("snapshot", "host"), "--output"),
    (("snapshot", "host", "-o", "/no/such/folder/x.json"), "cannot write"),
    (("fix", "nd-no-such", "--yes"), "no such network namespace"),
    (("undo", "no-such-fix"), "no such fix"),
    (("undo", "../../etc/passwd"), "not the id of a fix"),
    (("explain", "no-such-cause"), "no such cause"),
    (("report", "/no/such/file"), "No such file"),
    (("report", "/etc/passwd"), "not a report"),
    (("build", "../x"), "no name"),
    (("build", "x", "--subnet", "abc"), "10.0.0.0/24"),
    (("demo", "--fault", "no-such-fault"), "masquerade-wrong-egress"),
    (("demo", "--all-faults", "--fault", "link-down"), "--all-faults"),
)


@pytest.mark.parametrize(("words", "said"), BAD_WORDS)
def test_bad_words_are_refused_in_one_line(words: tuple[str, ...], said: str, state: dict[str, str]) -> None:
    refused(netdoctor(*words, **state), said)


@pytest.mark.parametrize(
    "words",
    [
        ("nd-no-such", "--format", "json"),
        ("--bogus", "--format=json"),
        ("x", "--to", "1.2.3", "-f", "json"),
        ("-fjson",),
    ],
)
def test_errors_are_json_when_json_was_asked_for(words: tuple[str, ...]) -> None:
    done = netdoctor("check", *words)
    said = json.loads(done.stdout)
    assert done.returncode == 2 and said["verdict"] == "error" and said["error"] in done.stderr
    jsonschema.validate(said, json.loads(netdoctor("schema").stdout))


# Rights --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["check", "snapshot", "fix", "build", "destroy"])
def test_without_rights_one_line_says_so(verb: str, standing: World, tmp_path: Path) -> None:
    more = {"snapshot": ("-o", "/tmp/nd-never.json"), "fix": ("--yes",)}.get(verb, ())
    refused(nobody.netdoctor(verb, standing.name("ns1"), *more), "root")
    assert not Path("/tmp/nd-never.json").exists()


def test_without_rights_another_users_process_is_refused() -> None:
    refused(nobody.netdoctor("check", "pid:1"), "root")


def test_a_folder_without_rights_is_told_before_anything_is_done(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    refused(nobody.netdoctor("check", "host", "-o", f"html={tmp_path}/x.html"), "cannot write")


# Results -------------------------------------------------------------------------------------------------------------


def test_healthy_is_0_and_says_so(standing: World) -> None:
    done = netdoctor("check", standing.name("ns1"), world=standing)
    assert done.returncode == 0 and not done.stderr
    assert "PASS" in done.stdout and "\x1b" not in done.stdout


def test_quiet_twice_says_nothing(standing: World) -> None:
    done = netdoctor("check", standing.name("ns1"), "-qq", world=standing)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_format_goes_to_files_at_once(standing: World, tmp_path: Path) -> None:
    formats = ("terminal", "json", "html", "markdown", "junit")
    words = [word for form in formats for word in ("-o", f"{form}={tmp_path}/{form}")]
    assert netdoctor("check", standing.name("ns1"), "-qq", *words, world=standing).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(formats)
    assert json.loads((tmp_path / "json").read_text())["verdict"] == "pass"
    for source in ("json", "html"):
        again = netdoctor("report", f"{tmp_path}/{source}", "--format", "json")
        assert json.loads(again.stdout) == json.loads((tmp_path / "json").read_text())


def test_all_counts_the_attached_namespaces(standing: World) -> None:
    done = netdoctor("check", "--all", "--format", "json", world=standing)
    said = json.loads(done.stdout)
    jsonschema.validate(said, json.loads(netdoctor("schema").stdout))
    assert standing.name("ns1") in [report["target"] for report in said["reports"]]


def test_all_quiet_twice_says_nothing(standing: World) -> None:
    done = netdoctor("check", "--all", "-qq", world=standing)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_all_with_an_error_reports_it_for_each(standing: World) -> None:
    done = netdoctor("check", "--all", "--to", "ns:nd-no-such", "--format", "json", world=standing)
    said = json.loads(done.stdout)
    jsonschema.validate(said, json.loads(netdoctor("schema").stdout))
    assert done.returncode == 2 and said["verdict"] == "error"
    assert all(report["verdict"] == "error" and "nd-no-such" in report["error"] for report in said["reports"])


def test_an_ipv4_mapped_address_is_asked_as_ipv4(standing: World) -> None:
    assert netdoctor("check", standing.name("ns1"), "--to", "::ffff:8.8.8.8", world=standing).returncode == 0


def test_hostile_names_are_shown_harmless(world: World) -> None:
    world.sh("ns1 ip link set veth1 alias $'\\x1b[31m<b>'; ip link add $'\\xff\\x1b' type veth peer name ok0")
    for form in ("terminal", "json", "html", "markdown", "junit"):
        done = netdoctor("check", world.name("ns1"), "-vv", "--format", form, world=world)
        assert done.returncode == 0 and "\x1b" not in done.stdout and "\x1b" not in done.stderr, done
    assert netdoctor("snapshot", world.name("ns1"), "-o", "/dev/null", world=world).returncode == 0


@contextmanager
def silence(world: World) -> Iterator[None]:
    """A UDP service at 8.8.8.8 port 777 that never answers."""
    silent = "import socket; s = socket.socket(2, 2); s.bind(('8.8.8.8', 777)); print('ready', flush=True); input()"
    inside = ["ip", "netns", "exec", world.name("inet"), sys.executable, "-c", silent]
    with subprocess.Popen(inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as service:
        assert service.stdout and service.stdout.readline()
        yield
        service.kill()


def test_silence_of_udp_is_undetermined(standing: World) -> None:
    with silence(standing):
        done = netdoctor("check", standing.name("ns1"), "--port", "777/udp", world=standing)
    assert done.returncode == 3 and "may stay silent" in " ".join(done.stdout.split())


def test_interrupted_is_130(standing: World) -> None:
    """While it waits for the answer that does not come."""
    inside = ("ip", "netns", "exec", standing.name("host"), sys.executable, "-m", "netdoctor")
    words = ("check", standing.name("ns1"), "--port", "777/udp")
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with silence(standing), subprocess.Popen([*inside, *words], text=True, **piped) as run:  # type: ignore[call-overload]
        time.sleep(1.2)
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=20)
    assert run.returncode == 130 and not "".join(said).strip()


def test_fail_on(world: World) -> None:
    world.sh(BREAK_MASQUERADE)
    name = world.name("ns1")
    assert netdoctor("check", name, world=world).returncode == 1
    assert netdoctor("check", name, "--fail-on", "never", world=world).returncode == 0
