"""What can be said of a question about a name that does not get as far as an address. Pure."""

from msgspec.structs import replace

from netdoctor import question
from netdoctor.conclusion import TARGET, Conclusion, leg_of
from netdoctor.model.diagnosis import Basis, Case, Leg
from netdoctor.model.evidence import TRUNCATED, Evidence, Ping
from netdoctor.model.journey import Flow, Step
from netdoctor.model.snapshot import Snapshot
from netdoctor.model.unknown import Unknown

OVER_TCP, FROM_ANYBODY = " over tcp", " from anybody"
DEAD_ADDRESS = ("destination-unowned", "destination-silent", "upstream-unreachable")


def servers(snapshot: Snapshot) -> list[str]:
    """The servers in resolv.conf that are addresses, without their zone."""
    resolver = snapshot.namespaces[snapshot.target].resolver
    found = () if isinstance(resolver, Unknown) else resolver.nameservers
    return [one for one in found if question.is_address(one.partition("%")[0])]


def server_flows(snapshot: Snapshot, evidence: Evidence | None) -> list[tuple[str, Flow]]:
    """(leg, flow) of the way to each server; over TCP too where a server was asked by it."""
    flows = []
    for server in servers(snapshot):
        flow = question.dns_flow(snapshot.target, server.partition("%")[0])
        flows.append((f"dns {server}", flow))
        if evidence is not None and evidence.of(f"dns {server}{OVER_TCP}") is not None:
            over_tcp = question.dns_flow(snapshot.target, server.partition("%")[0], "tcp")
            flows.append((f"dns {server}{OVER_TCP}", over_tcp))
    return flows


def stray_answer(legs: tuple[Leg, ...], evidence: Evidence | None) -> tuple[Leg, Ping] | None:
    """The server whose answers come from another address than they were asked at."""
    for leg in legs:
        seen = evidence.of(f"{leg.name}{FROM_ANYBODY}") if evidence else None
        if seen is not None and seen.answer == "reply" and seen.offender.partition(" ")[0] != seen.address:
            return leg, seen
    return None


def conclude_name(case: Case, snapshot: Snapshot) -> Conclusion | None:
    """A question about a name, when it does not get as far as an address."""
    servers = [leg for leg in case.legs if leg.name.startswith("dns ")]
    if leg_of(case, TARGET) is not None or not _asks_name(case):
        return None
    who, name = case.question.target, case.question.dest
    resolver = snapshot.namespaces[snapshot.target].resolver
    path = getattr(resolver, "path", "resolv.conf")
    if not servers:
        step = _resolver_step(snapshot, "resolver-missing", f"{path} of {who} names no usable server", {"path": path})
        return Conclusion("fail", "observed", f"{who} cannot resolve {name}: {step.summary}", step, "dns")
    pings = {leg.name: case.evidence.of(leg.name) if case.evidence else None for leg in servers}
    stray = stray_answer(case.legs, case.evidence)
    if stray is not None:
        step = _stray(*stray, path)
        return Conclusion("fail", "observed", f"{who} cannot resolve {name}: {step.summary}", step, "dns")
    answered = [ping for ping in pings.values() if ping is not None and ping.answer == "reply"]
    denied = next((ping for ping in answered if ping.detail != TRUNCATED), None)
    if denied is not None:
        text = f"the name server {denied.address} has no address for {name}" + (
            f" ({denied.detail})" if denied.detail else ""
        )
        step = _resolver_step(snapshot, "name-not-found", text, {"path": path, "server": denied.address})
        return Conclusion("fail", "observed", f"{who} cannot resolve {name}: {text}", step, "dns")
    # Nobody was asked: a further server whose way is open may answer where the first one cannot.
    open_way = None if case.evidence else next((leg for leg in servers if leg.trip.fatal is None), None)
    over_tcp = next((leg for leg in servers if leg.name.endswith(OVER_TCP)), None)
    first = over_tcp or open_way or servers[0]
    culprit = _server_culprit(first, pings[first.name], snapshot, path)
    if culprit is None:
        return Conclusion(
            "undetermined",
            "predicted",
            f"cannot tell whether {who} resolves {name}: the way to its name server is open, and it was not asked",
        )
    basis: Basis = "predicted" if case.evidence is None else "confirmed" if first.trip.fatal else "observed"
    return Conclusion("fail", basis, f"{who} cannot resolve {name}: {culprit.summary}", culprit, first.name)


def stale_hosts_entry(case: Case, snapshot: Snapshot, conclusion: Conclusion) -> Conclusion:
    """A name that the hosts file sends to an address that nobody has: the file is at fault, not the network."""
    resolver = snapshot.namespaces[snapshot.target].resolver
    step = conclusion.culprit
    if isinstance(resolver, Unknown) or step is None or step.cause not in DEAD_ADDRESS or not _asks_name(case):
        return conclusion
    name = case.question.dest.rstrip(".").lower()
    addresses = resolver.hosts.get(name, ())
    if not addresses:
        return conclusion
    path = resolver.hosts_path
    text = f"{path} says that {name} is {addresses[0]}, an address that nobody has ({step.summary})"
    told = _resolver_step(
        snapshot,
        "hosts-entry-stale",
        text,
        {
            "path": path,
            "advice": f"correct or delete the line of {name} in {path}",
            "observed": f"{addresses[0]} {name}",
        },
    )
    summary = f"{case.question.target} cannot reach {case.question.dest}: {text}"
    return conclusion._replace(culprit=told, summary=summary)


def _asks_name(case: Case) -> bool:
    dest = case.question.dest
    return not dest.startswith("ns:") and any(char.isalpha() for char in dest) and ":" not in dest


def _resolver_step(snapshot: Snapshot, cause: str, summary: str, facts: dict[str, str]) -> Step:
    return Step(kind="resolver", namespace=snapshot.target, outcome="block", cause=cause, summary=summary, facts=facts)


def _stray(leg: Leg, seen: Ping, path: str) -> Step:
    """The server is there, but what it says comes from another of its addresses, and nobody takes that for an answer."""
    last = leg.trip.forward.steps[-1]
    text = (
        f"the name server {seen.address} in {path} answers from {seen.offender}, which no resolver takes for its answer"
    )
    return Step(
        kind="resolver", namespace=last.namespace, outcome="block", cause="resolver-answers-elsewhere", summary=text,
        facts={"path": path, "server": seen.address, "observed": f"asked {seen.address}, answered by {seen.offender}",
               "advice": f"let the name server answer from the address it was asked at (bind it to {seen.address})"},
    )  # fmt: skip


def _server_culprit(leg: Leg, ping: Ping | None, snapshot: Snapshot, path: str) -> Step | None:
    """Why the first server cannot be asked: the file names a wrong one, or the way to it is broken."""
    server, trip = leg.trip.flow.destination, leg.trip
    fatal = trip.fatal
    facts = {"path": path, "server": server}
    cut = "the answer is too long for UDP, and over TCP: " if trip.flow.protocol == "tcp" else ""
    if fatal is not None:
        here = fatal.namespace == snapshot.target
        if fatal.kind == "deliver" and here:
            text = f"{path} names {server}, and nothing listens there in this namespace"
            slug = "resolver-loopback" if server.startswith("127.") or server == "::1" else "resolver-not-listening"
            return _resolver_step(snapshot, slug, text, {**facts, "symptom": fatal.summary})
        foreign = (":" in server) and fatal.kind in ("source-address", "route") and here
        if foreign:
            text = f"{path} names the IPv6 server {server}, and this namespace has no IPv6 way to it ({fatal.summary})"
            return _resolver_step(snapshot, "resolver-unreachable", text, {**facts, "symptom": fatal.summary})
        return replace(fatal, summary=f"{cut}{fatal.summary} (on the way to the name server {server})")
    if ping is None:
        return None
    doubt = next((step for step in trip.doubts if step.cause and step.cause != "unreadable"), None)
    if doubt is not None and doubt.kind != "nat":
        return replace(doubt, outcome="block", summary=f"{cut}{doubt.summary} (on the way to the name server {server})")
    why = {"refused": "nothing listens there", "error": ping.error, "local-error": ping.error}.get(
        ping.answer, "it does not answer"
    )
    slug = (
        "resolver-not-listening"
        if ping.answer == "refused"
        else "resolver-silent"
        if ping.answer == "silent"
        else "resolver-unreachable"
    )
    text = f"the name server {server} in {path} cannot be used: {cut}{why}"
    return _resolver_step(snapshot, slug, text, {**facts, "symptom": ping.error})
