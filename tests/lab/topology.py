"""What a world is made of, and the base worlds. One line a thing, in the words of ip(8).

cables     "host:veth0 ns1:veth1"            a veth pair, both ends up
bridges    "host br0 port ..."               a bridge, up, with its ports
addresses  "host veth0 10.0.0.1/24"          role, device, then what `ip addr add` takes
routes     "ns1 default via 10.0.0.1"        role, then what `ip route add` takes
sysctls    "host net.ipv4.ip_forward=1 ..."  role, then settings
setup      shell run in the host role; `ns1 ip ...` runs in another, $NS1 is its name
resolvers  "ns1 8.8.8.8"                     the nameserver in its /etc/netns/NAME/resolv.conf
services   "inet 8.8.8.8 192.168.0.1@53@80"  role, then where service.py listens (UDP DNS, HTTP)
healthy    probes (probe.py) that pass in it, "[ROLE:] KIND DEST"; the role is ns1 when left out
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Topology:
    """A world's description."""

    title: str
    roles: tuple[str, ...]
    cables: tuple[str, ...] = ()
    bridges: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    sysctls: tuple[str, ...] = ()
    setup: str = ""
    resolvers: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    healthy: tuple[str, ...] = ()


UPLINK = ("host wlp1s0 192.168.0.147/24", "inet up0 192.168.0.1/24", "inet lo 8.8.8.8/32", "inet lo 9.9.9.9/32")
FORWARDING = ("host net.ipv4.ip_forward=1",)

VETH = Topology(
    title="One container on a veth pair, MASQUERADE by iptables-nft, one uplink",
    roles=("host", "ns1", "inet"),
    cables=("host:veth0 ns1:veth1", "host:wlp1s0 inet:up0"),
    addresses=("host veth0 10.0.0.1/24", "ns1 veth1 10.0.0.2/24", *UPLINK),
    routes=("ns1 default via 10.0.0.1", "host default via 192.168.0.1"),
    sysctls=FORWARDING,
    setup="iptables-nft -t nat -A POSTROUTING -s 10.0.0.0/24 -o wlp1s0 -j MASQUERADE",
    resolvers=("ns1 8.8.8.8", "host 8.8.8.8"),
    services=("inet 8.8.8.8 9.9.9.9 192.168.0.1",),
    healthy=("ping 8.8.8.8", "ping 10.0.0.1", "bulk 8.8.8.8:80", "udp 8.8.8.8:53", "web files.test:80"),
)

VETH_LEGACY = replace(
    VETH,
    title="The same by iptables-legacy, with a filter that accepts forwarding by rule",
    setup="""
iptables-legacy-restore <<'RULES'
*nat
-A POSTROUTING -s 10.0.0.0/24 -o wlp1s0 -j MASQUERADE
COMMIT
*filter
:FORWARD DROP
-A FORWARD -i veth0 -o wlp1s0 -j ACCEPT
-A FORWARD -i wlp1s0 -o veth0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
RULES""",
)

VETH_NFT = replace(
    VETH,
    title="The same by a native nftables table: input and forward policy drop with accepts, a set, a verdict map",
    setup="""
nft -f - <<'RULES'
table inet gate {
  set lan { type ipv4_addr; flags interval; elements = { 10.0.0.0/24 } }
  chain input {
    type filter hook input priority filter; policy drop;
    iif "lo" accept
    ct state established,related accept
    ip saddr @lan accept
    meta l4proto { icmp, ipv6-icmp } accept
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state vmap { established : accept, related : accept, invalid : drop }
    iifname "veth0" oifname "wlp1s0" goto outbound
  }
  chain outbound { ip saddr @lan counter accept; }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr @lan oifname "wlp1s0" masquerade
  }
}
RULES""",
)

BRIDGE = Topology(
    title="Docker-like: docker0 with two containers, FORWARD policy drop, a published port 8080 -> ns1:80",
    roles=("host", "ns1", "ns2", "inet"),
    cables=("host:vethaa1 ns1:eth0", "host:vethbb2 ns2:eth0", "host:wlp1s0 inet:up0"),
    bridges=("host docker0 vethaa1 vethbb2",),
    addresses=("host docker0 172.17.0.1/16", "ns1 eth0 172.17.0.2/16", "ns2 eth0 172.17.0.3/16", *UPLINK),
    routes=("ns1 default via 172.17.0.1", "ns2 default via 172.17.0.1", "host default via 192.168.0.1"),
    sysctls=FORWARDING,
    setup="""
bridge link set dev vethaa1 hairpin on
bridge link set dev vethbb2 hairpin on
iptables-nft-restore <<'RULES'
*nat
:DOCKER -
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE
-A DOCKER -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*filter
:FORWARD DROP
:DOCKER -
:DOCKER-BRIDGE -
:DOCKER-CT -
:DOCKER-FORWARD -
:DOCKER-USER -
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER ! -i docker0 -o docker0 -j DROP
COMMIT
RULES""",
    resolvers=("ns1 8.8.8.8", "ns2 8.8.8.8", "host 8.8.8.8"),
    services=("inet 8.8.8.8 192.168.0.1", "ns1 0.0.0.0", "ns2 0.0.0.0"),
    healthy=(
        "ping 8.8.8.8",
        "bulk 8.8.8.8:80",
        "web files.test:80",
        "ping 172.17.0.3",
        "tcp 172.17.0.3:80",
        "inet: tcp 192.168.0.147:8080",
        "tcp 192.168.0.147:8080",
    ),
)

CHAIN = Topology(
    title="Three hops: ns1, a router, the host, the internet; static routes, MASQUERADE on the host",
    roles=("host", "ns1", "r1", "inet"),
    cables=("r1:lan0 ns1:eth0", "host:veth0 r1:wan0", "host:wlp1s0 inet:up0"),
    addresses=("ns1 eth0 10.1.0.2/24", "r1 lan0 10.1.0.1/24", "r1 wan0 10.2.0.2/30", "host veth0 10.2.0.1/30", *UPLINK),
    routes=(
        "ns1 default via 10.1.0.1",
        "r1 default via 10.2.0.1",
        "host default via 192.168.0.1",
        "host 10.1.0.0/24 via 10.2.0.2",
    ),
    sysctls=("host net.ipv4.ip_forward=1", "r1 net.ipv4.ip_forward=1"),
    setup="iptables-nft -t nat -A POSTROUTING -s 10.0.0.0/8 -o wlp1s0 -j MASQUERADE",
    resolvers=("ns1 8.8.8.8", "host 8.8.8.8"),
    services=("inet 8.8.8.8 9.9.9.9",),
    healthy=("ping 8.8.8.8", "ping 10.2.0.1", "bulk 8.8.8.8:80", "name files.test"),
)

UPLINK6 = ("host wlp1s0 2001:db8::147/64", "inet up0 2001:db8::1/64", "inet lo 2001:4860:4860::8888/128")
LAN6 = ("host veth0 fd00::1/64", "ns1 veth1 fd00::2/64")
DUAL = replace(
    VETH,
    title="IPv4 and IPv6 on a veth pair, NAT66 by ip6tables",
    addresses=(*VETH.addresses, *LAN6, *UPLINK6),
    routes=(*VETH.routes, "ns1 default via fd00::1", "host default via 2001:db8::1"),
    sysctls=("host net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",),
    setup=VETH.setup + "\nip6tables-nft -t nat -A POSTROUTING -s fd00::/64 -o wlp1s0 -j MASQUERADE",
    services=("inet 8.8.8.8 2001:4860:4860::8888",),
    healthy=("ping 8.8.8.8", "ping 2001:4860:4860::8888", "bulk [2001:4860:4860::8888]:80", "name files.test"),
)

DUAL_ROUTED = replace(
    DUAL,
    title="IPv4 by NAT, IPv6 routed: the upstream knows the way back to the container's /64",
    routes=(*DUAL.routes, "inet fd00::/64 via 2001:db8::147"),
    setup=VETH.setup,
)

MACVLAN = Topology(
    title="Two macvlan containers straight on the LAN; no NAT, the gateway is the LAN's router",
    roles=("host", "ns1", "ns2", "inet"),
    cables=("host:wlp1s0 inet:up0",),
    addresses=UPLINK,
    routes=("host default via 192.168.0.1",),
    setup="""
for n in 1 2; do
  name=NS$n
  ip link add link wlp1s0 name eth0 netns ${!name} type macvlan mode bridge
  ip -n ${!name} -batch - <<IP
link set eth0 up
addr add 192.168.0.6$n/24 dev eth0
route add default via 192.168.0.1
IP
done""",
    resolvers=("ns1 8.8.8.8", "ns2 8.8.8.8"),
    services=("inet 8.8.8.8 192.168.0.1", "ns2 192.168.0.62"),
    healthy=("ping 8.8.8.8", "bulk 8.8.8.8:80", "name files.test", "ping 192.168.0.62", "tcp 192.168.0.62:80"),
)

MULTI = Topology(
    title="Two uplinks: wlp1s0 to the internet (default) and eth1 to an office network without internet",
    roles=("host", "ns1", "inet", "office"),
    cables=("host:veth0 ns1:veth1", "host:wlp1s0 inet:up0", "host:eth1 office:up1"),
    addresses=(*VETH.addresses, "host eth1 172.30.0.2/24", "office up1 172.30.0.1/24", "office lo 10.99.0.1/32"),
    routes=(
        "ns1 default via 10.0.0.1",
        "host default via 192.168.0.1 metric 100",
        "host 10.99.0.0/16 via 172.30.0.1",
    ),
    sysctls=FORWARDING,
    setup="""
iptables-nft -t nat -A POSTROUTING -s 10.0.0.0/24 -o wlp1s0 -j MASQUERADE
iptables-nft -t nat -A POSTROUTING -s 10.0.0.0/24 -o eth1 -j MASQUERADE""",
    resolvers=("ns1 8.8.8.8", "host 8.8.8.8"),
    services=("inet 8.8.8.8 9.9.9.9", "office 10.99.0.1"),
    healthy=("ping 8.8.8.8", "tcp 8.8.8.8:80", "name files.test", "ping 10.99.0.1", "tcp 10.99.0.1:80"),
)

POLICY = replace(
    MULTI,
    title="Policy routing: the host's default is the office; marked container traffic uses table 100, rp_filter loose",
    routes=(
        "ns1 default via 10.0.0.1",
        "host default via 172.30.0.1 metric 100",
        "host default via 192.168.0.1 dev wlp1s0 table 100",
        "host 10.99.0.0/16 via 172.30.0.1 dev eth1 table 100",
    ),
    sysctls=("host net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=2",),
    setup="""
ip rule add fwmark 0x64 lookup 100 priority 1000
iptables-nft -t mangle -A PREROUTING -i veth0 -j MARK --set-mark 0x64"""
    + MULTI.setup,
)

P2P = Topology(
    title="Calico-like: ns1 has a /32, its gateway 169.254.1.1 is answered by proxy ARP, a /32 route on the host",
    roles=("host", "ns1", "inet"),
    cables=("host:cali0 ns1:eth0", "host:wlp1s0 inet:up0"),
    addresses=("ns1 eth0 10.65.0.2/32", *UPLINK),
    routes=(
        "ns1 169.254.1.1 dev eth0 scope link",
        "ns1 default via 169.254.1.1 dev eth0",
        "host 10.65.0.2 dev cali0 scope link",
        "host default via 192.168.0.1",
    ),
    sysctls=("host net.ipv4.ip_forward=1 net.ipv4.conf.cali0.proxy_arp=1 net.ipv4.neigh.cali0.proxy_delay=0",),
    setup="iptables-nft -t nat -A POSTROUTING -s 10.65.0.0/16 ! -d 10.65.0.0/16 -j MASQUERADE",
    resolvers=("ns1 8.8.8.8",),
    services=("inet 8.8.8.8 9.9.9.9",),
    healthy=("ping 8.8.8.8", "bulk 8.8.8.8:80", "name files.test"),
)

VXLAN = Topology(
    title="Two hosts with a VXLAN overlay: ns1 on host, ns2 on host2, a bridge on each, MTU 1450",
    roles=("host", "ns1", "host2", "ns2", "inet"),
    cables=("host:vethaa1 ns1:eth0", "host2:vethbb2 ns2:eth0", "host:wlp1s0 inet:sw1", "host2:wlp1s0 inet:sw2"),
    bridges=("host br0 vethaa1", "host2 br0 vethbb2", "inet lan0 sw1 sw2"),
    addresses=(
        "host br0 10.42.0.1/24",
        "ns1 eth0 10.42.0.2/24",
        "ns2 eth0 10.42.0.3/24",
        "host wlp1s0 192.168.0.147/24",
        "host2 wlp1s0 192.168.0.148/24",
        "inet lan0 192.168.0.1/24",
        "inet lo 8.8.8.8/32",
    ),
    routes=("ns1 default via 10.42.0.1", "ns2 default via 10.42.0.1", "host default via 192.168.0.1"),
    sysctls=FORWARDING,
    setup="""
vx="type vxlan id 42 dstport 4789 dev wlp1s0"
ip link add vx0 $vx local 192.168.0.147 remote 192.168.0.148
ip link set vx0 mtu 1450 master br0 up
ip -n $HOST2 link add vx0 $vx local 192.168.0.148 remote 192.168.0.147
ip -n $HOST2 link set vx0 mtu 1450 master br0 up
ip -n $NS1 link set eth0 mtu 1450
ip -n $NS2 link set eth0 mtu 1450
iptables-nft -t nat -A POSTROUTING -s 10.42.0.0/24 ! -o br0 -j MASQUERADE""",
    resolvers=("ns1 8.8.8.8", "ns2 8.8.8.8"),
    services=("inet 8.8.8.8", "ns2 10.42.0.3"),
    healthy=("ping 10.42.0.3", "bulk 10.42.0.3:80", "ping 8.8.8.8", "name files.test", "ns2: ping 8.8.8.8"),
)

TOPOLOGIES = {
    "veth": VETH,
    "veth-legacy": VETH_LEGACY,
    "veth-nft": VETH_NFT,
    "bridge": BRIDGE,
    "chain": CHAIN,
    "dual": DUAL,
    "dual-routed": DUAL_ROUTED,
    "macvlan": MACVLAN,
    "multi": MULTI,
    "policy": POLICY,
    "p2p": P2P,
    "vxlan": VXLAN,
}
