"""Route lookups against the kernel: random worlds and flows, both families, in and out (RTM_GETROUTE)."""

import ipaddress
import os
import random
import secrets
import time
from collections import Counter

import pytest
from lab import World

from netdoctor import target
from netdoctor.model.snapshot import Need, Provenance, Snapshot
from netdoctor.model.unknown import Unknown
from netdoctor.netlink.wire import NETLINK_ROUTE
from netdoctor.observe.observer import Observer
from netdoctor.walk.packet import ICMP, TCP, UDP
from netdoctor.walk.routing import Query, lookup
from netdoctor.walk.tables import TABLE_NAMES
from netdoctor.walk.view import CannotTell, Lacking, View

from .routing_oracle import alike, asked, foretold
from .routing_worlds import DEVICES, TOPOLOGY, Recipe, host_of, recipe

FLOWS = 80
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make namespaces")


def flows(dice: random.Random, made: Recipe) -> list[Query]:
    """Questions of which most meet something that the world has."""
    asked_for = []
    for _ in range(FLOWS):
        family = dice.choice((4, 6))
        incoming = dice.random() < 0.5
        protocol = dice.choice((TCP, UDP, ICMP if family == 4 else 58))
        ported = protocol in (TCP, UDP)
        asked_for.append(
            Query(
                family=family,
                source=_source(dice, made, family, incoming=incoming),
                destination=_destination(dice, made, family),
                mark=dice.choice((0, 0, 5, 7, 0x105)),
                in_device=dice.choice(DEVICES) if incoming else "",
                out_device=dice.choice(DEVICES) if not incoming and dice.random() < 0.15 else "",
                protocol=protocol,
                source_port=dice.choice((1500, 40000)) if ported else 0,
                destination_port=dice.choice((80, 443)) if ported else 0,
                tos=dice.choice((0, 0, 0x10, 0x08, 0x20)),
                user_id=dice.choice((0, 1500)) if not incoming else 0,
            )
        )
    return asked_for


def _destination(dice: random.Random, made: Recipe, family: int) -> str:
    kind = dice.random()
    if kind < 0.6 and made.prefixes[family]:
        network = ipaddress.ip_network(dice.choice(made.prefixes[family]))
        address = network.network_address + dice.randint(0, min(network.num_addresses - 1, 300))
        if not address.is_multicast and not address.is_unspecified:
            return str(address)
    if kind < 0.7 and made.own[family]:
        return dice.choice(made.own[family])
    if kind < 0.85:
        return host_of(dice, family, dice.randint(0, 4))
    rare = ("127.0.0.5", "10.0.0.255", "0.0.0.7", "9.9.9.9") if family == 4 else ("2001:db8::77", "2600::1", "::1")
    return dice.choice(rare)


def _source(dice: random.Random, made: Recipe, family: int, *, incoming: bool) -> str:
    kind = dice.random()
    if not incoming:
        return "" if kind < 0.6 or not made.own[family] else dice.choice(made.own[family])
    if kind < 0.1 and made.own[family]:
        return dice.choice(made.own[family])
    if kind < 0.2 and family == 4:
        return dice.choice(("127.0.0.5", "10.0.0.255", "0.0.0.9", "224.0.0.5", "255.255.255.255"))
    if kind < 0.6:
        return host_of(dice, family, dice.randint(0, 4))
    return _destination(dice, made, family)


class Tally:
    """What was exercised and what came of it."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def table(self) -> str:
        total = self.counts["flows"]
        return "\n".join(
            f"{name:40} {count:7} {100 * count / total:6.1f} %" for name, count in sorted(self.counts.items())
        )


def build(world: World, made: Recipe) -> None:
    """ip(8) goes on past lines that the kernel refuses; the other end's links last, so that carriers fall after the routes."""
    for role, options, lines in (
        ("box", "-4", [line[3:] for line in made.lines if line.startswith("-4 ")]),
        ("box", "-6", [line[3:] for line in made.lines if line.startswith("-6 ")]),
        ("box", "", [line for line in made.lines if not line.startswith("-")]),
        ("far", "", made.far),
    ):
        text = "\n".join(lines)
        world.sh(f"ip {options} -force -batch - >/dev/null 2>&1 <<'E' || true\n{text}\nE", role)
    settings = "\n".join(
        f"echo {one.partition('=')[2]} 2>/dev/null >/proc/sys/{one.partition('=')[0]} || true" for one in made.sysctls
    )
    world.sh(settings, "box")


def trial(seed: int, tally: Tally) -> None:
    """One world and its flows. What differs is told with the seed."""
    dice = random.Random(seed)
    made = recipe(dice)
    with World(TOPOLOGY) as world:
        build(world, made)
        handle = target.resolve(world.name("box"))
        observer = Observer(handle, handle)
        try:
            for _ in range(100):
                snapshot = _read(observer)
                if _unsure(snapshot):
                    time.sleep(0.02)
                    continue
                told = _asked_all(observer, snapshot, flows(random.Random(seed + 1), made))
                again = _read(observer)
                if _settled(snapshot) == _settled(again):
                    break
            else:
                tally.counts["worlds that never came to rest"] += 1
                return
            for query, theirs in told:
                _judge(View(snapshot), snapshot.target, query, theirs, tally, seed)
        finally:
            observer.close()


def _read(observer: Observer) -> Snapshot:
    snapshot = observer.begin(Provenance())
    return observer.answer(snapshot, [Need(namespace=snapshot.target, subject="device", key=("lo",))])


def _unsure(snapshot: Snapshot) -> bool:
    """An address is tentative for a moment, and one of no preferred lifetime not yet deprecated."""
    found = snapshot.namespaces[snapshot.target].addresses
    assert not isinstance(found, Unknown)
    return any("tentative" in one.flags or (one.preferred_s == 0 and "deprecated" not in one.flags) for one in found)


def _settled(snapshot: Snapshot) -> tuple[object, ...]:
    one = snapshot.namespaces[snapshot.target]
    return one.links, one.addresses, one.routes, one.neighbours


def _asked_all(observer: Observer, snapshot: Snapshot, queries: list[Query]):  # type: ignore[no-untyped-def]
    reader = observer.reader(snapshot.target, NETLINK_ROUTE)
    view = View(snapshot)
    return [(query, asked(reader, view, snapshot.target, query)) for query in queries]


def _judge(view, key, query, theirs, tally, seed) -> None:  # type: ignore[no-untyped-def]
    counts = tally.counts
    way = f"IPv{query.family} {'in' if query.in_device else 'out'}"
    counts["flows"] += 1
    counts[f"{way}"] += 1
    counts["routable"] += not theirs.error
    counts[f"kernel: {theirs.type or 'error ' + os.strerror(theirs.error)}"] += 1
    try:
        ours = foretold(view, key, query)
    except CannotTell as why:
        counts[f"cannot tell: {way}"] += 1
        counts["cannot tell"] += 1
        counts[f"cannot tell: {str(why)[:24]}"] += 1
        return
    except Lacking as lacking:
        raise AssertionError(lacking.needs) from lacking
    _cover(view, key, query, counts, len(ours))
    if not alike(theirs, ours):
        tally.wrong.append(f"seed {seed}: {query}: kernel {theirs}, walk {ours}")


def _cover(view, key, query, counts, answers) -> None:  # type: ignore[no-untyped-def]
    try:
        found = lookup(view, key, query)
    except CannotTell:
        return
    counts["several next hops possible"] += answers > 1
    if found.rule:
        rule = found.rule
        names = ("source", "destination", "in_device", "out_device", "fwmark", "tos", "protocol", "source_ports",
                 "destination_ports", "uids", "suppress_prefix_length", "suppress_group", "invert")  # fmt: skip
        for name in names:
            if getattr(rule, name) not in (None, "", 0, False):
                counts[f"rule: {name}"] += 1
        counts[f"rule: {rule.action}"] += 1
    if found.route:
        route = found.route
        counts[f"route: {route.type}"] += 1
        counts[f"table: {TABLE_NAMES.get(route.table, 'own')}"] += 1
        counts["route: next-hop object"] += route.next_hop_id > 0
        counts["route: several next hops"] += len(route.next_hops) > 1
        counts["route: tos"] += route.tos > 0
        counts["route: source-specific"] += bool(route.source)
        counts["route: preferred source"] += bool(route.preferred_source)
        counts["route: scope"] += route.scope != "global"
        counts["route: preference"] += route.preference not in ("", "medium")
        counts["route: IPv6 gateway of IPv4"] += any(
            query.family == 4 and ":" in hop.gateway for hop in route.next_hops
        )
        for flag in ("dead", "linkdown", "onlink"):
            counts[f"next hop: {flag}"] += any(flag in hop.flags for hop in route.next_hops)
    counts["passed over: dead or throw"] += bool(found.skipped)


def run(seeds: range) -> Tally:
    tally = Tally()
    for seed in seeds:
        trial(seed, tally)
    print(tally.table())
    return tally


@root
def test_random_worlds_and_flows_as_the_kernel_answers() -> None:
    seed = int(os.environ.get("NETDOCTOR_SEED", "0")) or secrets.randbelow(1 << 30)
    print(f"NETDOCTOR_SEED={seed}")
    tally = run(range(seed, seed + 5))
    assert not tally.wrong, f"NETDOCTOR_SEED={seed}\n" + "\n".join(tally.wrong[:5])


@root
@pytest.mark.soak
def test_ten_thousand_flows() -> None:
    seed = int(os.environ.get("NETDOCTOR_SEED", "20000"))
    tally = run(range(seed, seed + 250))
    counts = tally.counts
    assert not tally.wrong, "\n".join(tally.wrong[:20])
    assert counts["flows"] >= 10_000
    assert 0.3 <= counts["routable"] / counts["flows"] <= 0.7
    for way in ("IPv4 in", "IPv4 out", "IPv6 in", "IPv6 out"):
        assert counts[f"cannot tell: {way}"] < 0.05 * counts[way]
