"""Every Change on the kernel: what it does is what the model says, and its inverse gives the start again."""

from fix.repair_world import World, prove

from netdoctor.fix.faithful import loss
from netdoctor.model.change import (
    AddAddress,
    AddFdbEntry,
    AddPolicyRule,
    AddQdisc,
    AddRoute,
    AddXfrmPolicy,
    DeleteAddress,
    DeleteFdbEntry,
    DeleteNeighbour,
    DeletePolicyRule,
    DeleteQdisc,
    DeleteRoute,
    DeleteXfrmPolicy,
    SetBridge,
    SetBridgePort,
    SetLink,
    SetNeighbour,
    SetSysctl,
)
from netdoctor.model.network import (
    Address,
    FdbEntry,
    Neighbour,
    NextHop,
    PolicyRule,
    Qdisc,
    Route,
    XfrmPolicy,
    XfrmTemplate,
)


def index(world: World, role: str, name: str) -> int:
    return int(world.sh(role, f"cat /proc/net/dev >/dev/null; ip -o link show {name}").split(":")[0])


def route(world: World, destination: str, **fields: object) -> Route:
    hop = NextHop(index=index(world, "host", "veth0"), gateway=str(fields.pop("gateway", "")))
    family = 6 if ":" in destination else 4
    return Route(family=family, table=254, destination=destination, next_hops=(hop,), **fields)  # type: ignore[arg-type]


def test_ip_forward_spreads_to_every_interface(world: World) -> None:
    world.sh("host", "sysctl -qw net.ipv4.conf.veth0.forwarding=1")
    prove(world, SetSysctl(namespace=world.id("host"), key="net/ipv4/ip_forward", value="1"))


def test_ip_forward_off_forgets_nothing(world: World) -> None:
    world.sh("host", "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.default.forwarding=0")
    prove(world, SetSysctl(namespace=world.id("host"), key="net/ipv4/ip_forward", value="0"))


def test_ipv6_forwarding(world: World) -> None:
    prove(world, SetSysctl(namespace=world.id("host"), key="net/ipv6/conf/all/forwarding", value="1"))


def test_ipv6_disabled_takes_the_addresses_along(world: World) -> None:
    world.sh("host", "ip addr add fd00::1/64 dev veth0 nodad; ip route add fd01::/64 via fd00::9")
    prove(world, SetSysctl(namespace=world.id("host"), key="net/ipv6/conf/veth0/disable_ipv6", value="1"))


def test_reverse_path_filter_stands_alone(world: World) -> None:
    prove(world, SetSysctl(namespace=world.id("host"), key="net/ipv4/conf/veth0/rp_filter", value="2"))


def test_link_down_loses_routes_and_gets_them_back(world: World) -> None:
    world.sh("ns1", "ip addr add fd00::2/64 dev veth1 nodad; ip route add fd01::/64 via fd00::9")
    world.sh("ns1", "ip route add 192.0.2.0/24 via 10.0.0.1 src 10.0.0.2 mtu 1400 metric 7")
    world.sh("ns1", "ip neigh add 10.0.0.77 lladdr 02:00:00:00:00:77 nud permanent dev veth1")
    prove(world, SetLink(namespace=world.id("ns1"), link="veth1", up=False))


def test_link_up_brings_the_connected_route(world: World) -> None:
    world.sh("ns1", "ip link set veth1 down")
    prove(world, SetLink(namespace=world.id("ns1"), link="veth1", up=True))


def test_loopback_down(world: World) -> None:
    prove(world, SetLink(namespace=world.id("ns1"), link="lo", up=False))


def test_mtu_below_1280_ends_ipv6(world: World) -> None:
    world.sh("host", "ip addr add fd00::1/64 dev veth0 nodad")
    prove(world, SetLink(namespace=world.id("host"), link="veth0", mtu_bytes=1000))


def test_mtu_mac_and_arp(world: World) -> None:
    where = world.id("ns1")
    prove(world, SetLink(namespace=where, link="veth1", mtu_bytes=1400, mac="02:00:00:00:00:42"))
    prove(world, SetLink(namespace=where, link="veth1", no_arp=True))


def test_port_joins_and_leaves_a_bridge(world: World) -> None:
    world.sh("host", "ip link add br0 type bridge; ip link set br0 up")
    world.sh(
        "host", "ip link add other type veth peer name rehto; ip link set rehto up; ip link set other up master br0"
    )
    where = world.id("host")
    prove(world, SetLink(namespace=where, link="veth0", master="br0"))
    world.sh("host", "ip link set veth0 master br0")
    prove(world, SetLink(namespace=where, link="veth0", master=""))


def test_a_bridge_takes_its_ports_along(world: World) -> None:
    world.sh("host", "ip link add br0 type bridge; ip link set br0 up; ip link set veth0 master br0")
    where = world.id("host")
    prove(world, SetLink(namespace=where, link="br0", up=False))
    world.sh("host", "ip link set br0 down")
    prove(world, SetLink(namespace=where, link="br0", up=True))


def test_bridge_and_port_options(world: World) -> None:
    world.sh("host", "ip link add br0 type bridge; ip link set br0 up; ip link set veth0 master br0")
    where = world.id("host")
    for option in ("isolated", "hairpin"):
        prove(world, SetBridgePort(namespace=where, link="veth0", option=option, value=1))
    for option in ("learning", "flood", "mcast_flood", "bcast_flood"):
        prove(world, SetBridgePort(namespace=where, link="veth0", option=option, value=0))
    prove(world, SetBridge(namespace=where, link="br0", option="nf_call_iptables", value=1))


def test_first_and_second_address(world: World) -> None:
    where = world.id("host")
    second = Address(index=0, family=4, local="10.0.0.3", prefix_length=24)
    prove(world, AddAddress(namespace=where, link="veth0", address=second))
    other = Address(index=0, family=4, local="10.9.0.1", prefix_length=16)
    prove(world, AddAddress(namespace=where, link="veth0", address=other))
    host = Address(index=0, family=4, local="10.9.0.1", prefix_length=32)
    prove(world, AddAddress(namespace=where, link="veth0", address=host))
    far = Address(index=0, family=4, local="10.9.0.1", prefix_length=32, peer="10.9.0.2")
    prove(world, AddAddress(namespace=where, link="veth0", address=far))


def test_ipv6_address(world: World) -> None:
    address = Address(index=0, family=6, local="fd00::1", prefix_length=64, flags=("nodad",))
    prove(world, AddAddress(namespace=world.id("host"), link="veth0", address=address))


def test_primary_takes_its_secondaries_along(world: World) -> None:
    world.sh("host", "ip addr add 10.0.0.3/24 dev veth0; ip addr add 10.0.0.4/24 dev veth0")
    world.sh("host", "ip route add 192.0.2.0/24 via 10.0.0.2 src 10.0.0.3; ip route add default via 10.0.0.2")
    first = Address(index=index(world, "host", "veth0"), family=4, local="10.0.0.1", prefix_length=24)
    prove(world, DeleteAddress(namespace=world.id("host"), link="veth0", address=first))


def test_promoted_secondary_becomes_secondary_again(world: World) -> None:
    world.sh("host", "sysctl -qw net.ipv4.conf.veth0.promote_secondaries=1; ip addr add 10.0.0.3/24 dev veth0")
    first = Address(index=index(world, "host", "veth0"), family=4, local="10.0.0.1", prefix_length=24)
    prove(world, DeleteAddress(namespace=world.id("host"), link="veth0", address=first))


def test_routes(world: World) -> None:
    where = world.id("host")
    for each in (
        route(world, "0.0.0.0/0", gateway="10.0.0.2"),
        route(world, "192.0.2.0/24", gateway="10.0.0.2", protocol="static", preferred_source="10.0.0.1", priority=50),
        route(world, "198.51.100.0/24", scope="link", mtu_bytes=1400),
        Route(family=4, table=100, destination="203.0.113.0/24", type="blackhole"),
    ):
        prove(world, AddRoute(namespace=where, route=each))
    world.sh("host", "ip route add default via 10.0.0.2 metric 9 mtu 1300; ip route add unreachable 192.0.2.7")
    for each in world.snapshot().namespaces[where].routes:  # type: ignore[union-attr]
        if each.destination in ("0.0.0.0/0", "192.0.2.7/32"):
            prove(world, DeleteRoute(namespace=where, route=each))


def test_onlink_multipath_and_ipv6_routes(world: World) -> None:
    where = world.id("host")
    number = index(world, "host", "veth0")
    onlink = NextHop(index=number, gateway="172.16.0.1", flags=("onlink",))
    prove(
        world, AddRoute(namespace=where, route=Route(family=4, table=254, destination="0.0.0.0/0", next_hops=(onlink,)))
    )
    hops = (NextHop(index=number, gateway="10.0.0.2", weight=2), NextHop(index=number, gateway="10.0.0.3"))
    prove(
        world, AddRoute(namespace=where, route=Route(family=4, table=254, destination="192.0.2.0/24", next_hops=hops))
    )
    world.sh("host", "ip addr add fd00::1/64 dev veth0 nodad")
    prove(world, AddRoute(namespace=where, route=route(world, "::/0", gateway="fd00::2")))


def test_policy_rules(world: World) -> None:
    where = world.id("host")
    for rule in (
        PolicyRule(family=4, priority=100, table=100, source="10.0.0.0/24"),
        PolicyRule(family=4, priority=101, table=100, fwmark=4, fwmask=0xFF, in_device="veth0", invert=True),
        PolicyRule(family=4, priority=102, table=100, protocol=6, destination_ports=(443, 443), uids=(0, 5)),
        PolicyRule(family=4, priority=103, table=254, suppress_prefix_length=0),
        PolicyRule(family=6, priority=104, action="prohibit", destination="2001:db8::/32"),
    ):
        prove(world, AddPolicyRule(namespace=where, rule=rule))
    world.sh("host", "ip rule add from 10.0.0.9 lookup 77 priority 50")
    rules = world.snapshot().namespaces[where].rules
    gone = next(rule for rule in rules if rule.priority == 50)  # type: ignore[union-attr]
    prove(world, DeletePolicyRule(namespace=where, rule=gone))


def test_neighbours(world: World) -> None:
    where, number = world.id("host"), index(world, "host", "veth0")
    fixed = Neighbour(family=4, index=number, address="10.0.0.2", mac="02:00:00:00:00:02", state="permanent")
    prove(world, SetNeighbour(namespace=where, link="veth0", neighbour=fixed))
    proxy = Neighbour(family=4, index=number, address="10.0.0.50", proxy=True)
    prove(world, SetNeighbour(namespace=where, link="veth0", neighbour=proxy))
    world.sh("host", "ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 nud permanent dev veth0")
    wrong = Neighbour(family=4, index=number, address="10.0.0.9", mac="02:00:00:00:00:09", state="permanent")
    prove(world, DeleteNeighbour(namespace=where, link="veth0", neighbour=wrong))


def test_forwarding_entries(world: World) -> None:
    world.sh("host", "ip link add br0 type bridge; ip link set br0 up; ip link set veth0 master br0")
    where = world.id("host")
    number, bridge = index(world, "host", "veth0"), index(world, "host", "br0")
    entry = FdbEntry(index=number, mac="02:00:00:00:00:02", master=bridge, state="static")
    prove(world, AddFdbEntry(namespace=where, link="veth0", entry=entry))
    world.sh("host", "bridge fdb add 02:00:00:00:00:03 dev veth0 master static")
    world.sh("host", "ip link add vx0 type vxlan id 7 dev veth0 dstport 4789; ip link set vx0 up")
    prove(world, DeleteFdbEntry(namespace=where, link="veth0", entry=_replaced(entry, "02:00:00:00:00:03")))
    remote = FdbEntry(
        index=index(world, "host", "vx0"), mac="00:00:00:00:00:00", destination="10.0.0.2", state="permanent"
    )
    prove(world, AddFdbEntry(namespace=where, link="vx0", entry=remote))


def _replaced(entry: FdbEntry, mac: str) -> FdbEntry:
    return FdbEntry(index=entry.index, mac=mac, master=entry.master, state=entry.state)


def test_queueing_disciplines(world: World) -> None:
    where, number = world.id("host"), index(world, "host", "veth0")
    clsact = Qdisc(index=number, kind="clsact", handle="ffff:", parent="ingress")
    prove(world, AddQdisc(namespace=where, link="veth0", qdisc=clsact))
    pfifo = Qdisc(index=number, kind="pfifo", handle="1:", parent="root", options={"limit": 7})
    prove(world, AddQdisc(namespace=where, link="veth0", qdisc=pfifo))
    world.sh("host", "tc qdisc add dev veth0 root pfifo limit 3")
    qdiscs = world.snapshot().namespaces[where].qdiscs
    found = next(each for each in qdiscs if each.kind == "pfifo")  # type: ignore[union-attr]
    prove(world, DeleteQdisc(namespace=where, link="veth0", qdisc=found))


def test_token_bucket_without_its_burst_is_called_a_loss() -> None:
    bucket = Qdisc(index=2, kind="tbf", handle="1:", parent="root", options={"rate_bytes": 125000, "limit": 20480})
    assert "tbf" in loss(AddQdisc(namespace="", link="veth0", qdisc=bucket))


def test_ingress_program_goes_and_comes_back(world: World) -> None:
    world.sh("host", "tc qdisc add dev veth0 clsact")
    world.sh("host", "tc filter add dev veth0 ingress protocol ip prio 5 bpf da bytecode '1,6 0 0 2'")
    where = world.id("host")
    namespace = world.snapshot().namespaces[where]
    qdisc = next(each for each in namespace.qdiscs if each.kind == "clsact")  # type: ignore[union-attr]
    filters = namespace.filters["veth0"]
    assert isinstance(filters, tuple) and len(filters) == 1
    prove(world, DeleteQdisc(namespace=where, link="veth0", qdisc=qdisc, filters=filters))


def test_ipsec_policies(world: World) -> None:
    template = XfrmTemplate(source="10.0.0.1", destination="10.0.0.2", protocol="esp", mode="tunnel", request_id=5)
    for policy in (
        XfrmPolicy(direction="out", family=4, source="10.0.0.0/24", destination="192.0.2.0/24", action="block"),
        XfrmPolicy(
            direction="fwd",
            family=4,
            source="10.0.0.0/24",
            destination="0.0.0.0/0",
            action="allow",
            protocol=6,
            destination_port=80,
            priority=3,
            templates=(template,),
        ),
    ):
        prove(world, AddXfrmPolicy(namespace=world.id("host"), policy=policy))
    world.sh(
        "host",
        "ip xfrm policy add src 10.0.0.0/24 dst 8.8.8.8 dir out tmpl src 10.0.0.1 dst 10.0.0.2 proto esp mode tunnel",
    )
    for policy in world.snapshot().namespaces[world.id("host")].policies:  # type: ignore[union-attr]
        prove(world, DeleteXfrmPolicy(namespace=world.id("host"), policy=policy))
