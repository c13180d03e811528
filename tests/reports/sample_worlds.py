"""Sample reports of the article's network and others: healthy, broken in one place, in two, and not to be told."""

import msgspec

from netdoctor.model.diagnosis import Report, ReportHop

from .samples import cause, checks, hops, probe, report

PING = "10.0.0.2 -> 8.8.8.8 icmp"
WRONG_EGRESS = "-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE"
RIGHT_EGRESS = "-A POSTROUTING -s 10.0.0.0/24 -o wlp1s0 -j MASQUERADE"
OUT_OF_NS1: tuple[tuple[str, ...], ...] = (
    ("ns1", "veth1", "route", "8.8.8.8 goes via 10.0.0.1 dev veth1", "default via 10.0.0.1 dev veth1"),
    ("ns1", "veth1", "source-address", "leaves as 10.0.0.2", "inet 10.0.0.2/24 scope global veth1"),
    ("ns1", "veth1", "neighbour", "10.0.0.1 is at 8e:5a:1c:02:9b:31", "10.0.0.1 lladdr 8e:5a:1c:02:9b:31 REACHABLE"),
    ("ns1", "veth1", "device", "veth1 is up and has carrier; its peer is veth0 in host", "veth1@if7: <UP,LOWER_UP>"),
    ("host", "veth0", "device", "veth0 is up and takes the frame", "veth0@if6: <UP,LOWER_UP> mtu 1500"),
    ("host", "veth0", "hook", "raw and mangle PREROUTING pass", "-P PREROUTING ACCEPT"),
    ("host", "veth0", "conntrack", "a new connection", "state NEW"),
    ("host", "veth0", "source-validation", "10.0.0.2 is behind veth0", "net.ipv4.conf.veth0.rp_filter = 2"),
    ("host", "wlp1s0", "route", "8.8.8.8 goes via 192.168.0.1 dev wlp1s0", "default via 192.168.0.1 dev wlp1s0"),
    ("host", "veth0", "forwarding", "veth0 forwards", "net.ipv4.conf.veth0.forwarding = 1"),
    ("host", "wlp1s0", "mtu", "84 bytes fit into 1500"),
    ("host", "wlp1s0", "hook", "filter FORWARD accepts by its policy", "-P FORWARD ACCEPT"),
)  # fmt: skip
HEALTHY_CHECKS = {
    "link": "veth1 and veth0 are up and have carrier",
    "address": "veth1 has 10.0.0.2/24, its gateway 10.0.0.1 is on veth0",
    "neighbour": "10.0.0.1 is at 8e:5a:1c:02:9b:31",
    "route": "default via 10.0.0.1 dev veth1, then via 192.168.0.1 dev wlp1s0",
    "forwarding": "host forwards from veth0",
    "firewall": "4 hooks on the way, none drops",
    "nat": "10.0.0.2 leaves wlp1s0 as 192.168.0.147",
    "conntrack": "312 of 262144 entries",
    "mtu": "1500 bytes all the way",
    "upstream": "8.8.8.8 answers the host itself in 11.2 ms",
}


def healthy() -> Report:
    """ns1 reaches 8.8.8.8; the walk goes out and back."""
    back = hops(
        "reply",
        "8.8.8.8 -> 192.168.0.147 icmp",
        ("host", "wlp1s0", "conntrack", "the reply of a known connection", "src=8.8.8.8 dst=192.168.0.147 type=0"),
        ("8.8.8.8 -> 10.0.0.2 icmp",),
        ("host", "wlp1s0", "nat", "192.168.0.147 becomes 10.0.0.2 again"),
        ("host", "veth0", "route", "10.0.0.2 is on veth0", "10.0.0.0/24 dev veth0 scope link"),
        ("host", "veth0", "hook", "filter FORWARD accepts by its policy", "-P FORWARD ACCEPT"),
        ("host", "veth0", "neighbour", "10.0.0.2 is at 36:0e:77:aa:4d:12"),
        ("ns1", "veth1", "device", "veth1 is up and takes the frame"),
        ("ns1", "veth1", "deliver", "10.0.0.2 is ours", "local 10.0.0.2 dev veth1 table local"),
    )
    return report(
        "ns1",
        "8.8.8.8",
        "pass",
        "confirmed",
        "ns1 reaches 8.8.8.8: answered in 11.4 ms",
        said=checks("ns1", **HEALTHY_CHECKS),
        path=_to_the_uplink("192.168.0.147 -> 8.8.8.8 icmp") + back,
        probes=[
            probe("target", "ns1", "8.8.8.8", "reply", "3 of 3 answered", rtt_ms=11.4),
            probe("host", "host", "8.8.8.8", "reply", "1 of 1 answered", rtt_ms=11.2),
        ],
    )


def warned() -> Report:
    """Healthy, but the forwarding sysctl will not survive a reboot."""
    fleeting = cause(
        "ip-forward-not-lasting",
        "forwarding",
        "host",
        "net.ipv4.ip_forward",
        "net.ipv4.ip_forward is 1 now, but no sysctl.d file sets it: the next boot has 0",
        evidence=["net.ipv4.ip_forward = 1", "no file in /etc/sysctl.d names net.ipv4.ip_forward"],
        lasting="echo 'net.ipv4.ip_forward = 1' > /etc/sysctl.d/90-forward.conf",
    )
    return msgspec.structs.replace(
        healthy(), verdict="warn", summary="ns1 reaches 8.8.8.8: answered in 11.4 ms; 1 warning", warnings=[fleeting]
    )


def wrong_egress() -> Report:
    """The article's classic: MASQUERADE names an interface that the packet does not leave by."""
    said = HEALTHY_CHECKS | {"nat": ("fail", "10.0.0.2 would leave wlp1s0 with its own address")}
    behind = dict.fromkeys(("conntrack", "mtu", "dns", "transport"), ("skip", "behind nat"))
    return report(
        "ns1",
        "8.8.8.8",
        "fail",
        "confirmed",
        "ns1 cannot reach 8.8.8.8: the MASQUERADE rule names eth0, but the packet leaves by wlp1s0",
        causes=[_wrong_egress()],
        said=checks("ns1", **(said | behind)),
        path=_to_the_uplink("", "!masquerade-wrong-egress!10.0.0.2 leaves wlp1s0 as it is: no reply can find it"),
        probes=[
            probe("target", "ns1", "8.8.8.8", "silent", "0 of 3 answered; last seen leaving wlp1s0 as 10.0.0.2"),
            probe("gateway", "ns1", "10.0.0.1", "reply", "1 of 1 answered", rtt_ms=0.05),
            probe("host", "host", "8.8.8.8", "reply", "1 of 1 answered", rtt_ms=11.2),
        ],
        consequences=["dns: 8.8.8.8 cannot be asked", "transport: no TCP connection leaves 10.0.0.0/24"],
    )


def fixed() -> Report:
    """The same after `fix --yes`."""
    broken = _wrong_egress()
    return msgspec.structs.replace(
        healthy(),
        summary="ns1 reaches 8.8.8.8 now: answered in 11.6 ms",
        root_causes=[],
        applied=broken.fix,
        undo=broken.undo,
        fixed=True,
        journal="20260321T101500Z-4026531840",
    )


def double_fault() -> Report:
    """ip_forward is 0, and behind that the FORWARD policy drops."""
    forward = hops("forward", PING, *OUT_OF_NS1[:-3])
    stop = hops("forward", PING, ("host", "veth0", "forwarding",
        "!ip-forward-off!host does not forward what veth0 brings", "net.ipv4.ip_forward = 0"))  # fmt: skip
    off = cause(
        "ip-forward-off",
        "forwarding",
        "host",
        "net.ipv4.ip_forward",
        "host does not forward IPv4: net.ipv4.ip_forward is 0",
        expected="net.ipv4.ip_forward = 1",
        observed="net.ipv4.ip_forward = 0",
        evidence=["net.ipv4.ip_forward = 0", "net.ipv4.conf.veth0.forwarding = 0", "Ip.InAddrErrors rose by 3"],
        fix=[["sysctl", "-w", "net.ipv4.ip_forward=1"]],
        undo=[["sysctl", "-w", "net.ipv4.ip_forward=0"]],
        owner="nobody sets it: it is the kernel's default",
        reverts="sysctl --system at boot reads /etc/sysctl.d/99-hardening.conf, which sets 0",
        lasting="echo 'net.ipv4.ip_forward = 1' > /etc/sysctl.d/99-zz-forward.conf",
    )
    drops = cause(
        "policy-drops",
        "firewall",
        "host",
        "chain FORWARD of table ip filter",
        "the policy of FORWARD drops: no rule accepts 10.0.0.2 from veth0 to wlp1s0",
        expected="a rule that accepts veth0 -> wlp1s0 and the replies",
        observed="-P FORWARD DROP, 14 rules, none matches",
        evidence=["-P FORWARD DROP", "walked again with net.ipv4.ip_forward = 1: blocked here"],
        fix=[
            ["iptables", "-I", "FORWARD", "1", "-i", "veth0", "-o", "wlp1s0", "-j", "ACCEPT"],
            ["iptables", "-I", "FORWARD", "2", "-i", "wlp1s0", "-o", "veth0", "-m", "conntrack",
             "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"],
        ],
        undo=[
            ["iptables", "-D", "FORWARD", "-i", "wlp1s0", "-o", "veth0", "-m", "conntrack",
             "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"],
            ["iptables", "-D", "FORWARD", "-i", "veth0", "-o", "wlp1s0", "-j", "ACCEPT"],
        ],
        owner="Docker set the policy when it started",
        reverts="Docker keeps it while it runs; rules in DOCKER-USER are left alone",
        advice=["put the two rules into DOCKER-USER if Docker restarts often"],
    )  # fmt: skip
    said = {layer: HEALTHY_CHECKS[layer] for layer in ("link", "address", "neighbour", "route")}
    told = said | {
        "forwarding": ("fail", "net.ipv4.ip_forward is 0"),
        "firewall": ("fail", "behind it: the policy of FORWARD drops"),
        "nat": ("skip", "behind forwarding"),
        "upstream": HEALTHY_CHECKS["upstream"],
    }
    return report(
        "ns1",
        "8.8.8.8",
        "fail",
        "confirmed",
        "ns1 cannot reach 8.8.8.8: host does not forward IPv4, and behind that the policy of FORWARD drops",
        causes=[off, drops],
        said=checks("ns1", **told),
        path=forward + stop,
        probes=[probe("target", "ns1", "8.8.8.8", "silent", "0 of 3 answered; last seen entering veth0")],
        consequences=["nat: MASQUERADE is never reached"],
    )


def _to_the_uplink(translated: str, blocked: str = "") -> list[ReportHop]:
    """Out of ns1, through the host; translated at the uplink, or blocked there."""
    last: tuple[tuple[str, ...], ...] = (("host", "wlp1s0", "nat", blocked, WRONG_EGRESS, "-P POSTROUTING ACCEPT"),)
    if not blocked:
        last = (
            (translated,),
            ("host", "wlp1s0", "nat", "10.0.0.2 becomes 192.168.0.147", RIGHT_EGRESS),
            ("host", "wlp1s0", "neighbour", "192.168.0.1 is at 4c:1b:86:00:10:fe"),
            ("host", "wlp1s0", "device", "wlp1s0 is up and has carrier"),
            ("upstream", "", "upstream", "8.8.8.8 answered 192.168.0.147"),
        )
    return hops("forward", PING, *OUT_OF_NS1, *last)


def _wrong_egress() -> object:
    return cause(
        "masquerade-wrong-egress",
        "nat",
        "host",
        WRONG_EGRESS,
        "the MASQUERADE rule names eth0, but packets to 8.8.8.8 leave by wlp1s0",
        expected="-o wlp1s0, where the default route leads",
        observed="-o eth0, which is no interface of host",
        evidence=[
            f"iptables-nft, table nat, line 1: {WRONG_EGRESS} (0 packets)",
            "default via 192.168.0.1 dev wlp1s0 proto dhcp metric 600",
            "10.0.0.2 -> 8.8.8.8 was seen leaving wlp1s0 untranslated, 3 times",
        ],
        fix=[
            ["iptables", "-t", "nat", "-R", "POSTROUTING", "1", "-s", "10.0.0.0/24", "-o", "wlp1s0", "-j", "MASQUERADE"]
        ],
        undo=[
            ["iptables", "-t", "nat", "-R", "POSTROUTING", "1", "-s", "10.0.0.0/24", "-o", "eth0", "-j", "MASQUERADE"]
        ],
        owner="typed by hand: no service claims this rule",
        lasting="iptables-save > /etc/iptables/rules.v4 (package iptables-persistent)",
    )
