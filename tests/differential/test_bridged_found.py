"""What frames taught about the kernel, one ruleset each: random frames through it go as the walk says."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from lab import World

from .bridged_box import TOPOLOGY, BridgedBox
from .bridged_trial import BridgedTrial
from .test_bridged import BACKENDS, cleared, legacy_tables, told, verdicts

NFT, LEGACY, LEGACY_6 = "nft -f -", "iptables-legacy-restore", "ip6tables-legacy-restore"
OFF = "host net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0"
OWN = "ip link set br0 type bridge nf_call_iptables 1 nf_call_ip6tables 1 nf_call_arptables 1\n"
FRAMES = 24
FOUND = {
    "ether matches hold at egress, where no device came in": (
        NFT,
        """table netdev t { chain c { type filter hook egress devices = { p1, p2, br0 } priority 0; policy accept;
        ether daddr != 02:00:00:00:00:01 counter meta mark set 3 comment "a"
        } }""",
    ),
    "postrouting sees the device a forwarded packet came in by": (
        NFT,
        """table inet t { chain c { type filter hook postrouting priority 0; policy accept;
        iifname "right" counter drop comment "a"
        iifname "br0" counter comment "b"
        } }""",
    ),
    "a frame for somebody else is so in the bridge and at egress, and not in the ip hooks": (
        NFT,
        """table bridge t { chain c { type filter hook forward priority 1; policy accept;
        meta pkttype other counter comment "a"
        meta pkttype host counter comment "b"
        } }
        table netdev t { chain c { type filter hook egress devices = { p2, p3 } priority 0; policy accept;
        meta pkttype other counter comment "c"
        } }
        table inet t { chain c { type filter hook forward priority 0; policy accept;
        meta pkttype host counter comment "d"
        meta pkttype other counter comment "e"
        } }""",
    ),
    "ARP has no transport header": (
        NFT,
        """table bridge t { chain c { type filter hook prerouting priority 1; policy accept;
        meta l4proto != tcp counter comment "a"
        ether type arp @th,16,16 != 1 counter comment "b"
        ether type arp counter comment "c"
        } }""",
    ),
    "what prerouting redirects is for the bridge itself from there on": (
        LEGACY_6,
        "*nat\n-A PREROUTING -p tcp -m comment --comment a -j REDIRECT\nCOMMIT\n",
        NFT,
        """table bridge t { chain c { type filter hook prerouting priority 100; policy accept;
        meta pkttype host counter comment "b"
        meta pkttype other counter comment "c"
        } }""",
    ),
    "a mark set at ingress chooses the route": (
        NFT,
        """table netdev t { chain c { type filter hook ingress devices = { p1, p2, right } priority 0; policy accept;
        ip protocol udp counter meta mark set 2 comment "a"
        } }
        table ip t { chain c { type filter hook forward priority 0; policy accept;
        meta mark 2 oifname "other" counter comment "b"
        meta mark 2 oifname "br0" counter comment "c"
        } }""",
    ),
    "what the bridge has routed is not routed anew for a mark it gets later": (
        LEGACY,
        "*nat\n-A PREROUTING -d 10.5.0.1 -m comment --comment a -j DNAT --to-destination 10.2.0.2\nCOMMIT\n",
        NFT,
        """table bridge t { chain c { type filter hook input priority 0; policy accept;
        ip daddr 10.2.0.2 counter meta mark set 2 comment "b"
        } }""",
    ),
    "destination NAT to a neighbour on the bridge is bridged": (
        LEGACY,
        "*nat\n-A PREROUTING -m physdev --physdev-in p1 -m comment --comment a -j DNAT --to-destination 10.5.0.4\nCOMMIT\n"
        "*filter\n-A FORWARD -m physdev --physdev-is-bridged -m comment --comment b\n"
        "-A FORWARD -m physdev ! --physdev-is-bridged -m comment --comment c\nCOMMIT\n",
    ),
    "a frame with a new MAC goes to the port that has it": (
        NFT,
        """table bridge t { chain c { type filter hook prerouting priority -300; policy accept;
        iifname "p1" ether type ip counter ether daddr set $NS3 comment "a"
        }
        chain d { type filter hook forward priority 1; policy accept;
        oifname "p3" counter comment "b"
        } }""",
    ),
    "forwarding gives an IPv4 packet the priority of its type of service, whatever the bridge gave it": (
        NFT,
        """table bridge t { chain c { type filter hook prerouting priority 0; policy accept;
        counter meta priority set 0:1 comment "a"
        } }
        table inet t { chain c { type filter hook forward priority 0; policy accept;
        meta priority 0:0 counter comment "b"
        meta priority 0:1 counter comment "c"
        } }""",
    ),
    "the bridge's own stack gets requests by the bridge's device": (
        NFT,
        """table arp t { chain d { type filter hook input priority 0; policy accept;
        iifname "br0" arp operation request counter comment "a"
        iifname "p1" counter comment "b"
        } }""",
    ),
}  # fmt: skip
TOPOLOGIES = {
    "on": TOPOLOGY,
    "off": replace(TOPOLOGY, sysctls=(*TOPOLOGY.sysctls, OFF)),
    "the bridge's own": replace(TOPOLOGY, sysctls=(*TOPOLOGY.sysctls, OFF), setup=OWN + TOPOLOGY.setup),
}


@pytest.fixture(scope="module", params=sorted(TOPOLOGIES))
def box(request: pytest.FixtureRequest) -> Iterator[BridgedBox]:
    """br_netfilter on, off, and off but for this bridge."""
    with World(TOPOLOGIES[request.param]) as world:
        made = BridgedBox(world)
        yield made
        made.close()


@pytest.mark.parametrize("name", sorted(FOUND))
def test_found(box: BridgedBox, name: str) -> None:
    inputs = FOUND[name]
    cleared(box)
    try:
        for command, text in zip(inputs[::2], inputs[1::2], strict=True):
            complaint = box.tool(command, text.replace("$NS3", box.mac("ns3")).replace("} }", "}\n}\n"))
            assert not complaint, complaint
        box.legacy = legacy_tables(box)
        trial = BridgedTrial(box, box.loaded(), random.Random(7))
        found = list(trial.verdicts(FRAMES))
    finally:
        cleared(box)
    assert not [str(verdict) for verdict in found if verdict.wrong]
    assert any(verdict.moved for verdict in found) or "ip hooks" in name or box.world.topology is not TOPOLOGY


@pytest.mark.parametrize("backend", BACKENDS)
def test_random_rules_whether_bridged_packets_are_shown_or_not(box: BridgedBox, backend: str) -> None:
    for rules, verdict in verdicts(box, backend, random.randrange(1 << 30)):
        assert not verdict.wrong, told(0, rules, verdict)


def test_the_forward_chain_of_arptables_sees_bridged_requests(box: BridgedBox) -> None:
    """Which only legacy tables have; its rules carry no comments, so what arrives must tell. Their conditions are doubts."""
    assert not box.tool("arptables-legacy -A FORWARD -j DROP", "")
    try:
        found = list(BridgedTrial(box, box.loaded(), random.Random(7)).verdicts(100))
    finally:
        box.tool("arptables-legacy -F", "")
    assert not [str(verdict) for verdict in found if verdict.wrong or verdict.foretold.doubts]


@pytest.mark.parametrize("hook", ["prerouting", "forward"])
def test_a_chain_at_the_place_of_br_netfilter_is_doubted(box: BridgedBox, hook: str) -> None:
    """Made before the first bridge it would be passed over by bridged IP packets; no dump tells."""
    text = f'table bridge t {{ chain c {{ type filter hook {hook} priority 0; policy accept; ip protocol udp counter drop comment "a"; }}; }}'
    assert not box.tool(NFT, text)
    try:
        found = list(BridgedTrial(box, box.loaded(), random.Random(7)).verdicts(60))
    finally:
        cleared(box)
    assert not [str(verdict) for verdict in found if verdict.wrong]
    told = [verdict.foretold for verdict in found if verdict.moved["a"]]
    assert told
    shown = box.world.topology is not TOPOLOGIES["off"]
    assert all(bool(one.doubts) is shown for one in told)
