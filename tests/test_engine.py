"""Verdict and basis of every meeting of walk and probe, and each check's line."""

import ast
from pathlib import Path

import pytest

from netdoctor import checks, conclusion, engine, resolution
from netdoctor.model.diagnosis import Case, Cause, Leg, Question
from netdoctor.model.evidence import Evidence, Ping
from netdoctor.model.journey import Flow, Journey, RoundTrip, Step
from netdoctor.model.network import ResolvConf
from netdoctor.model.snapshot import Namespace, Snapshot

FLOW = Flow(namespace="1:1", family=4, destination="192.0.2.1", protocol="icmp")
OPEN = Step(kind="route", namespace="1:1", outcome="pass", summary="192.0.2.1 goes by eth0")
SHUT = Step(kind="forwarding", namespace="1:2", outcome="block", summary="forwarding is off", cause="ip-forward-off")
DOUBT = Step(kind="hook", namespace="1:2", outcome="unknown", summary="rule 3 may drop it", cause="rule-drops")
UNREAD = Step(kind="route", namespace="1:2", outcome="unknown", summary="routes: not permitted", cause="unreadable")
SNAPSHOT = Snapshot(
    host="1:2", target="1:1",
    namespaces={"1:1": Namespace(id="1:1", name="box", resolver=ResolvConf(path="/etc/resolv.conf")),
                "1:2": Namespace(id="1:2", name="host")},
)  # fmt: skip


def trip(*steps: Step, end: str = "delivered") -> RoundTrip:
    """A way of these steps; the reply goes the same end."""
    if any(step.outcome == "block" for step in steps):
        end = "blocked"
    forward = Journey(direction="forward", end=end, steps=steps)  # type: ignore[arg-type]
    reply = Journey(direction="reply", end="delivered") if end == "delivered" else None
    return RoundTrip(flow=FLOW, forward=forward, reply=reply)


def case(way: RoundTrip, *pings: Ping, probed: bool = True, port: str = "", large: RoundTrip | None = None) -> Case:
    legs = [Leg(name="target", trip=way), *([Leg(name="large", trip=large)] if large else [])]
    return Case(
        question=Question(target="box", dest="192.0.2.1", port=port),
        legs=tuple(legs),
        evidence=Evidence(pings=pings) if probed else None,
    )


def ping(answer: str, leg: str = "target", **more: object) -> Ping:
    return Ping(leg=leg, namespace="1:1", address="192.0.2.1", answer=answer, **more)  # type: ignore[arg-type]


def concluded(*arguments: object, **more: object) -> engine.Conclusion:
    return engine.conclude(case(*arguments, **more), SNAPSHOT)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("way", "answer", "verdict", "basis"),
    [
        (trip(OPEN), "reply", "pass", "confirmed"),
        (trip(OPEN, DOUBT, end="unknown"), "reply", "pass", "observed"),
        (trip(OPEN, SHUT), "reply", "pass", "contradicted"),
        (trip(OPEN, end="left"), "reply", "pass", "observed"),
        (trip(OPEN, SHUT), "silent", "fail", "confirmed"),
        (trip(OPEN, SHUT), "local-error", "fail", "confirmed"),
        (trip(OPEN), "silent", "fail", "contradicted"),
        (trip(OPEN, DOUBT, end="unknown"), "silent", "fail", "observed"),
        (trip(OPEN, end="left"), "silent", "fail", "observed"),
        (trip(OPEN, end="left"), "error", "fail", "observed"),
    ],
)
def test_the_probe_says_whether_and_the_walk_says_why(way: RoundTrip, answer: str, verdict: str, basis: str) -> None:
    found = concluded(way, ping(answer))
    assert (found.verdict, found.basis) == (verdict, basis)
    assert (found.culprit is not None) == (verdict == "fail")


@pytest.mark.parametrize(
    ("way", "verdict"),
    [
        (trip(OPEN), "pass"),
        (trip(OPEN, SHUT), "fail"),
        (trip(OPEN, end="left"), "undetermined"),
        (trip(OPEN, DOUBT, end="unknown"), "undetermined"),
        (trip(OPEN, UNREAD, end="unknown"), "undetermined"),
    ],
)
def test_without_a_packet_the_walk_predicts(way: RoundTrip, verdict: str) -> None:
    for found in (concluded(way, probed=False), concluded(way, ping("not-sent"))):
        assert (found.verdict, found.basis) == (verdict, "predicted")


@pytest.mark.parametrize(
    ("pings", "cause"),
    [
        ((ping("refused", port=80),), "destination-refuses"),
        ((ping("error", error="host unreachable", offender="198.51.100.1"),), "destination-unreachable"),
        ((ping("silent"), ping("silent", "next hop")), "next-hop-silent"),
        ((ping("silent"), ping("silent", "host")), "host-cut-off"),
        ((ping("silent"), ping("reply", "host")), "destination-silent"),
    ],
)
def test_beyond_what_can_be_seen_the_other_probes_tell(pings: tuple[Ping, ...], cause: str) -> None:
    found = concluded(trip(OPEN, end="left"), *pings)
    assert found.culprit is not None and (found.culprit.cause, found.culprit.namespace) == (cause, "upstream")


def test_a_dead_probe_that_no_step_explains() -> None:
    found = concluded(trip(OPEN), ping("silent"), ping("reply", "host"))
    assert found.culprit is not None and found.culprit.cause == "unexplained"


def test_what_could_not_be_read_is_never_the_culprit() -> None:
    found = concluded(trip(OPEN, UNREAD, end="unknown"), ping("silent"), ping("reply", "host"))
    assert found.culprit is not None and found.culprit.cause == "destination-silent"


def test_a_doubt_becomes_the_culprit_in_certain_words() -> None:
    found = concluded(trip(OPEN, DOUBT, end="unknown"), ping("silent"))
    assert found.culprit is not None and found.culprit.outcome == "block" and "may" not in found.culprit.summary


def test_silence_of_udp_proves_nothing() -> None:
    found = concluded(trip(OPEN), ping("silent", protocol="udp", port=777), port="777/udp")
    assert found.verdict == "undetermined" and found.culprit is None


def test_large_data_that_dies_silently_is_a_fault() -> None:
    hole = Step(
        kind="mtu", namespace="1:2", outcome="block", summary="too big, and nobody says so", cause="pmtu-black-hole"
    )
    found = concluded(trip(OPEN), ping("reply", protocol="tcp"), port="22/tcp", large=trip(OPEN, hole))
    assert (found.verdict, found.basis, found.leg) == ("fail", "predicted", "large")
    tried = ping("reply", protocol="tcp", detail="large data passes")
    assert concluded(trip(OPEN), tried, port="80/tcp", large=trip(OPEN, hole)).verdict == "pass"


def diagnosed(way: RoundTrip, causes: tuple[Cause, ...], *pings: Ping, crashed: dict[str, str] | None = None):  # type: ignore[no-untyped-def]
    one = case(way, *pings)
    return engine.diagnose(one, engine.conclude(one, SNAPSHOT), SNAPSHOT, causes, crashed or {})


def test_each_check_has_its_line_in_order() -> None:
    cause = Cause(
        slug="ip-forward-off", layer="forwarding", namespace="1:2", object="sysctl", summary="forwarding is off"
    )
    found = diagnosed(trip(OPEN, SHUT), (cause,), ping("silent"), ping("silent", "gateway"))
    assert [one.id for one in found.checks] == [check.ID for check in checks.ORDER]
    status = {one.id: one.status for one in found.checks}
    assert (status["route"], status["forwarding"], status["nat"]) == ("pass", "fail", "skip")
    nat = next(one for one in found.checks if one.id == "nat")
    assert "blocked by ip-forward-off" in nat.summary
    assert len(found.consequences) == 1 and found.consequences[0].startswith("gateway: ")
    assert any("no answer" in line for line in found.causes[0].evidence)


def test_two_causes_of_a_layer_leave_the_line_to_the_first() -> None:
    first = Cause(slug="link-down", layer="link", namespace="1:1", object="eth0", summary="eth0 is down")
    second = Cause(
        slug="carrier-missing", layer="link", namespace="1:2", object="veth0", summary="veth0 has no carrier"
    )
    found = diagnosed(trip(SHUT), (first, second), ping("silent"))
    assert found.checks[0].summary == "eth0 is down"
    assert "blocked by link-down" in found.checks[-1].summary


def test_a_check_that_crashed_is_an_error_and_the_others_stand() -> None:
    found = diagnosed(trip(OPEN, SHUT), (), ping("silent"), crashed={"forwarding": "KeyError: 'x'"})
    assert {one.id: one.status for one in found.checks}["forwarding"] == "error"
    assert {one.id: one.status for one in found.checks}["route"] == "pass"


def test_a_healthy_run_has_no_failing_line() -> None:
    found = diagnosed(trip(OPEN), (), ping("reply", rtt_ms=0.1))
    assert {one.status for one in found.checks} <= {"pass", "skip"} and not found.warnings


def test_a_walk_that_the_packet_contradicts_is_a_warning() -> None:
    step = Step(
        kind="forwarding", namespace="1:2", outcome="block", summary="ip_forward is 0", cause="ip-forward-off",
        facts={"sysctl": "net/ipv4/ip_forward", "value": "0"},
    )  # fmt: skip
    found = diagnosed(trip(OPEN, step), (), ping("reply", rtt_ms=0.1))
    assert found.verdict in ("pass", "warn") and len(found.warnings) == 1
    assert not found.warnings[0].changes


def test_a_second_name_server_may_answer_where_the_first_cannot() -> None:
    ways = (trip(OPEN, SHUT), trip(OPEN))
    legs = tuple(Leg(name=f"dns 192.0.2.{number}", trip=way) for number, way in enumerate(ways, 1))
    asked = Question(target="box", dest="files.test")
    found = engine.conclude(Case(question=asked, legs=legs), SNAPSHOT)
    assert (found.verdict, found.basis) == ("undetermined", "predicted")
    found = engine.conclude(Case(question=asked, legs=legs[:1]), SNAPSHOT)
    assert found.verdict == "fail" and found.culprit is not None and found.culprit.cause == "ip-forward-off"


def test_every_probe_answer_has_its_words() -> None:
    for answer in ("reply", "refused", "silent", "error", "local-error", "not-sent"):
        assert engine.probe_line(ping(answer, error="why")).startswith("ping 192.0.2.1: ")
    assert engine.probe_line(ping("silent", protocol="tcp", port=80)).startswith("tcp 192.0.2.1 port 80")


def test_the_core_touches_nothing_of_the_world() -> None:
    """The same is held by import-linter; here it needs nothing installed."""
    banned = {"subprocess", "socket", "time", "random", "os"}
    names = {
        alias.name
        for part in (engine, conclusion, resolution)
        for node in ast.walk(ast.parse(Path(part.__file__).read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert not names & banned


def test_the_packet_s_own_conntrack_entry_is_told() -> None:
    from netdoctor.engine import tracked_lines
    from netdoctor.model.network import ConntrackEntry, ConntrackTuple

    original = ConntrackTuple(protocol=1, source="10.0.0.2", destination="8.8.8.8")
    unanswered = ConntrackEntry(
        original=original, reply=ConntrackTuple(protocol=1, source="8.8.8.8", destination="10.0.0.2")
    )
    translated = ConntrackEntry(
        original=original,
        reply=ConntrackTuple(protocol=1, source="8.8.8.8", destination="192.168.0.147"),
        status=("seen-reply", "confirmed"),
    )
    lines = tracked_lines(Evidence(conntrack={"4:1": (unanswered, translated)}))
    assert "[UNREPLIED]" in lines[0] and "[UNREPLIED]" not in lines[1]
    assert lines[1].endswith("src=8.8.8.8 dst=192.168.0.147")
    assert tracked_lines(None) == ()
