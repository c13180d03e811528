"""A check that reads only what the packet meets tells the same way as a snapshot in which everything was read."""

import sys
from pathlib import Path

import msgspec
import pytest
from lab import World

from netdoctor import question
from netdoctor.examination import provenance
from netdoctor.model.journey import Flow, RoundTrip
from netdoctor.model.snapshot import Snapshot
from netdoctor.model.unknown import UNREAD, Unknown
from netdoctor.observe.observer import Observer
from netdoctor.target import resolve
from netdoctor.walk.walker import walk

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

from large_rulesets import SERVED, flat_iptables, flat_nft, kube_iptables, kube_nft

SERVICES = 120
LAST = "-A FORWARD -d 8.8.8.8/32 -p icmp -j DROP"
SETS = """
table inet t {
  set wide { type ipv4_addr; flags interval; elements = { 8.0.0.0/8, 9.9.0.0-9.9.9.9, * }; }
  set live { type ipv4_addr; flags timeout, dynamic; timeout 1h; elements = { 8.8.8.8 }; }
  map ports { type inet_proto . inet_service : verdict; flags interval; elements = { tcp . 1-100 : jump seen, udp . 0-65535 : drop }; }
  map from { typeof iifname : verdict; flags interval; elements = { "veth*" : goto seen }; }
  chain seen { ip daddr @wide ip daddr != @live drop; ct state { new, established } counter; }
  chain c {
    type filter hook forward priority 10; policy accept;
    meta l4proto . th dport vmap @ports
    iifname vmap @from
    ip daddr @live update @live { ip saddr }
    ip saddr @live accept
  }
}
"""
RULESETS: dict[str, tuple[str, str, str]] = {
    "kube legacy": ("veth-legacy", "iptables-legacy-restore --noflush", kube_iptables(SERVICES, "8.8.8.8")),
    "kube iptables-nft": ("veth", "iptables-nft-restore --noflush", kube_iptables(SERVICES, "8.8.8.8")),
    "kube nft": ("veth", "nft -f -", kube_nft(SERVICES, "8.8.8.8")),
    "flat legacy": ("veth", "iptables-legacy-restore", flat_iptables(400, LAST)),
    "flat nft": ("veth", "nft -f -", flat_nft(400, "ip daddr 8.8.8.8 meta l4proto icmp counter drop")),
    "docker": ("bridge", "cat", ""),
    "sets": ("veth-nft", "nft -f -", SETS),
}
ASKED = (
    ("8.8.8.8", ""),
    ("8.8.8.8", "80/tcp"),
    ("9.9.9.9", "53/udp"),
    (SERVED, "80/tcp"),
    ("10.96.0.5", "80/tcp"),
    ("10.96.0.5", ""),
)


def walked(observer: Observer, snapshot: Snapshot, flow: Flow) -> tuple[RoundTrip, Snapshot]:
    trip = walk(snapshot, flow)
    while trip.needs:
        snapshot = observer.answer(snapshot, trip.needs)
        trip = walk(snapshot, flow)
    return trip, snapshot


def unread(snapshot: Snapshot) -> int:
    """How many chains and sets were left alone."""
    tables = [
        table
        for namespace in snapshot.namespaces.values()
        if not isinstance(namespace.ruleset.tables, Unknown)
        for table in namespace.ruleset.tables
    ]
    chains = sum(chain.rules == UNREAD for table in tables for chain in table.chains)
    return chains + sum(one.elements == UNREAD for table in tables for one in table.sets)


@pytest.mark.parametrize("name", RULESETS)
def test_both_tell_the_same_journey(name: str, tmp_path: Path) -> None:
    base, command, text = RULESETS[name]
    with World(base) as world:
        (tmp_path / "rules").write_text(text)
        world.sh(f"{command} < {tmp_path}/rules")
        host, target = resolve(world.name("host")), resolve(world.name("ns1"))
        observer = Observer(target, host)
        try:
            start = observer.begin(provenance())
            for dest, port in ASKED:
                flow = question.flow(question.parse("ns1", dest, port), start.target, dest)
                trip, read = walked(observer, start, flow)
                whole = observer.complete(read)
                # As a file holds it: what the walk asked the kernel for is in it, too, and must not be needed.
                bare = msgspec.json.decode(msgspec.json.encode(_without_answers(whole)), type=Snapshot)
                again = walk(bare, flow)
                assert not again.needs
                assert again == trip, f"{dest} {port}"
                assert unread(whole) == 0
                assert unread(read) > 0 or name in ("docker", "flat legacy", "flat nft")
        finally:
            observer.close()


def _without_answers(snapshot: Snapshot) -> Snapshot:
    def bare(namespace: object) -> object:
        tables = tuple(
            msgspec.structs.replace(table, sets=tuple(msgspec.structs.replace(one, answers={}) for one in table.sets))
            for table in namespace.ruleset.tables  # type: ignore[attr-defined]
        )
        ruleset = msgspec.structs.replace(namespace.ruleset, tables=tables)  # type: ignore[attr-defined]
        return msgspec.structs.replace(namespace, ruleset=ruleset)  # type: ignore[type-var]

    namespaces = {key: bare(one) for key, one in snapshot.namespaces.items()}
    return msgspec.structs.replace(snapshot, namespaces=namespaces)
