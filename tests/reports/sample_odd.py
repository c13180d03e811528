"""Sample reports of odd worlds: not to be told, hostile names, an overlay with a long way, IPv6, an error."""

from netdoctor.model.diagnosis import Report

from .samples import cause, checks, hops, probe, report

HOSTILE_DEVICE = "\x1b[31m<b>`x"
HOSTILE_COMMENT = "</script><script>alert(1)</script>\u202e | **x** [a](javascript:b) @all\n## owned $(reboot) [red]"
VTEP = "10.0.0.11:51820 -> 192.0.2.22:4789 udp"


def undetermined() -> Report:
    """An nft rule uses an expression nobody can read, and nothing was sent."""
    path = hops(
        "forward",
        "10.0.0.2:40000 -> 203.0.113.9:443 tcp",
        ("ns1", "veth1", "route", "203.0.113.9 goes via 10.0.0.1 dev veth1", "default via 10.0.0.1 dev veth1"),
        ("ns1", "veth1", "device", "veth1 is up and has carrier; its peer is veth0 in host"),
        ("host", "veth0", "device", "veth0 is up and takes the frame"),
        ("host", "veth0", "forwarding", "veth0 forwards", "net.ipv4.conf.veth0.forwarding = 1"),
        (
            "host", "wlp1s0", "hook", "?rule-drops?chain inet guard forward: rule handle 7 cannot be read: osf",
            'inet guard forward handle 7: osf name "Linux" drop',
        ),
    )  # fmt: skip
    said = checks(
        "ns1",
        link="veth1 and veth0 are up and have carrier",
        address="veth1 has 10.0.0.2/24, its gateway 10.0.0.1 is on veth0",
        route="default via 10.0.0.1 dev veth1, then via 192.168.0.1 dev wlp1s0",
        forwarding="host forwards from veth0",
        firewall=("unknown", "rule handle 7 of inet guard forward holds the expression osf, which cannot be read"),
        nat=("skip", "behind firewall"),
        dns=("error", "the check crashed: KeyError: 'nameserver'"),
    )
    return report(
        "ns1",
        "203.0.113.9",
        "undetermined",
        "predicted",
        "cannot tell whether ns1 reaches 203.0.113.9 port 443/tcp: rule handle 7 of inet guard forward cannot be read",
        port="443/tcp",
        said=said,
        path=path,
        probes=[probe("target", "ns1", "203.0.113.9", "not-sent", "--no-probe", protocol="tcp", port=443)],
    )


def hostile() -> Report:
    """Names and comments written by somebody who wants to be believed."""
    rule = f'-A FORWARD -i "{HOSTILE_DEVICE}" -m comment --comment "{HOSTILE_COMMENT}" -j DROP'
    drop = cause(
        "rule-drops",
        "firewall",
        "host",
        rule,
        f"a rule of FORWARD drops what {HOSTILE_DEVICE} brings: {HOSTILE_COMMENT}",
        expected="no rule that drops it",
        observed=rule,
        evidence=[rule, "```", "<!--", "https://evil.example/ www.evil.example #1", "veth\udcff", "\u7f51\u7edc" * 30],
        fix=[["iptables", "-D", "FORWARD", "-i", HOSTILE_DEVICE, "-m", "comment", "--comment", HOSTILE_COMMENT]],
        undo=[["iptables", "-I", "FORWARD", "1", "-i", HOSTILE_DEVICE, "-m", "comment", "--comment", HOSTILE_COMMENT]],
        advice=["```\nrm -rf /\n```"],
        owner=HOSTILE_COMMENT,
    )
    path = hops(
        "forward",
        "10.0.0.2 -> 8.8.8.8 icmp",
        ("ns<1>", HOSTILE_DEVICE, "route", f"8.8.8.8 goes via 10.0.0.1 dev {HOSTILE_DEVICE}", HOSTILE_COMMENT),
        ("host", HOSTILE_DEVICE, "device", "it is up"),
        ("host", HOSTILE_DEVICE, "hook", f"!rule-drops!{HOSTILE_COMMENT}", rule),
    )
    return report(
        "ns<1>",
        "8.8.8.8",
        "fail",
        "predicted",
        f"ns<1> cannot reach 8.8.8.8: a rule drops what {HOSTILE_DEVICE} brings",
        causes=[drop],
        said=checks("ns<1>", firewall=("fail", HOSTILE_COMMENT), link=HOSTILE_DEVICE),
        path=path,
        consequences=[HOSTILE_COMMENT],
        namespaces={"4:1": "ns<1>", "4:2": HOSTILE_COMMENT},
    )


def overlay() -> Report:
    """Two containers on two nodes, a VXLAN between them whose outer packets do not fit the underlay."""
    path = hops(
        "forward",
        "10.244.1.5:41000 -> 10.244.2.7:8080 tcp",
        ("pod-a", "eth0", "route", "10.244.2.7 goes via 10.244.1.1 dev eth0", "default via 10.244.1.1 dev eth0"),
        ("pod-a", "eth0", "neighbour", "10.244.1.1 is at 0a:58:0a:f4:01:01"),
        ("pod-a", "eth0", "device", "eth0 is up and has carrier; its peer is vethf00d in node-a"),
        ("node-a", "vethf00d", "device", "vethf00d is up and takes the frame"),
        ("node-a", "vethf00d", "bridge", "port vethf00d of cni0 is forwarding; the frame is for cni0 itself"),
        ("node-a", "cni0", "hook", "nat PREROUTING: KUBE-SERVICES does not match"),
        ("node-a", "flannel.1", "route", "10.244.2.7 goes via 10.244.2.0 dev flannel.1", "10.244.2.0/24 onlink"),
        ("node-a", "cni0", "forwarding", "cni0 forwards", "net.ipv4.conf.cni0.forwarding = 1"),
        ("node-a", "flannel.1", "hook", "filter FORWARD: FLANNEL-FWD accepts 10.244.0.0/16"),
        ("node-a", "flannel.1", "hook", "nat POSTROUTING: FLANNEL-POSTRTG returns 10.244.0.0/16"),
        ("node-a", "flannel.1", "neighbour", "10.244.2.0 is at 5e:c1:0d:22:41:aa", "PERMANENT"),
        ("node-a", "flannel.1", "encapsulation", "VXLAN 1 to 192.0.2.22", "dst 192.0.2.22 self permanent"),
        ("192.0.2.21:51820 -> 192.0.2.22:4789 udp",),
        ("node-a", "eth0", "route", "192.0.2.22 is on eth0", "192.0.2.0/24 dev eth0 scope link src 192.0.2.21"),
        ("node-a", "eth0", "hook", "filter OUTPUT accepts by its policy"),
        (
            "node-a", "eth0", "mtu", "!mtu-black-hole!1500 bytes and 50 of VXLAN do not fit 1450, and DF is set",
            "flannel.1: mtu 1500", "eth0: mtu 1450", "FragFails rose by 4",
        ),
    )  # fmt: skip
    hole = cause(
        "mtu-black-hole",
        "mtu",
        "node-a",
        "flannel.1 mtu 1500",
        "flannel.1 lets 1500 bytes in, but with VXLAN's 50 they do not fit eth0's 1450, and nobody is told",
        expected="mtu 1400 on flannel.1",
        observed="mtu 1500 on flannel.1, mtu 1450 on eth0",
        evidence=["84 bytes were answered", "1500 bytes with DF were not", "Ip.FragFails rose by 4 in node-a"],
        fix=[["ip", "-n", "node-a", "link", "set", "flannel.1", "mtu", "1400"]],
        undo=[["ip", "-n", "node-a", "link", "set", "flannel.1", "mtu", "1500"]],
        owner="flannel made flannel.1",
        reverts="flanneld, when it restarts with the same configuration",
        lasting="net-conf.json of flannel: set MTU to 1400",
    )
    return report(
        "pod-a",
        "10.244.2.7",
        "fail",
        "confirmed",
        "pod-a connects to 10.244.2.7 port 8080/tcp, but large data does not fit the VXLAN's underlay",
        port="8080/tcp",
        causes=[hole],
        said=checks("pod-a", route="4 lookups", mtu=("fail", "1550 bytes do not fit 1450 on eth0 of node-a")),
        path=path,
        probes=[
            probe("target", "pod-a", "10.244.2.7", "reply", "connected", protocol="tcp", port=8080, rtt_ms=0.9),
            probe("large", "pod-a", "10.244.2.7", "silent", "1500 bytes with DF", protocol="tcp", port=8080),
        ],
        consequences=["transport: requests hang after the handshake"],
        namespaces={
            "4:4026532301": "pod-a",
            "4:4026532400": "node-a",
            "4:4026532401": "node-b",
            "4:4026531840": "host",
        },
    )


def reply_lost() -> Report:
    """IPv6: the way out is open, but the host has no route back to the container's prefix."""
    out = hops(
        "forward",
        "2001:db8:1::2 -> 2001:db8:ffff::53 icmpv6",
        (
            "web",
            "eth0",
            "route",
            "2001:db8:ffff::53 goes via fe80::1 dev eth0",
            "default via fe80::1 dev eth0",
        ),
        ("web", "eth0", "neighbour", "fe80::1 is at 02:42:5e:1f:00:01"),
        ("host", "br-lan", "forwarding", "br-lan forwards", "net.ipv6.conf.all.forwarding = 1"),
        ("host", "wan0", "route", "2001:db8:ffff::53 goes via 2001:db8::ffff dev wan0"),
        ("host", "wan0", "hook", "filter FORWARD accepts", "-A FORWARD -i br-lan -o wan0 -j ACCEPT"),
        ("inet", "wan1", "device", "wan1 is up and takes the frame"),
        ("inet", "lo", "deliver", "2001:db8:ffff::53 is ours"),
    )
    back = hops(
        "reply",
        "2001:db8:ffff::53 -> 2001:db8:1::2 icmpv6",
        (
            "inet", "", "route", "!no-return-route!no route to 2001:db8:1::2: unreachable",
            "ip -6 route get 2001:db8:1::2: RTNETLINK answers: Network is unreachable",
        ),
    )  # fmt: skip
    missing = cause(
        "no-return-route",
        "route",
        "inet",
        "route to 2001:db8:1::/64",
        "inet has no route back to 2001:db8:1::/64",
        expected="2001:db8:1::/64 via 2001:db8::1 dev wan1",
        observed="no route: Network is unreachable",
        evidence=["Ip6.Ip6InNoRoutes rose by 3 in inet"],
        fix=[["ip", "-n", "inet", "-6", "route", "add", "2001:db8:1::/64", "via", "2001:db8::1", "dev", "wan1"]],
        undo=[["ip", "-n", "inet", "-6", "route", "del", "2001:db8:1::/64", "via", "2001:db8::1", "dev", "wan1"]],
    )
    return report(
        "web",
        "2001:db8:ffff::53",
        "fail",
        "confirmed",
        "web cannot reach 2001:db8:ffff::53: inet has no route back to 2001:db8:1::/64",
        causes=[missing],
        said=checks("web", link="eth0 and veth7 are up", route=("fail", "inet has no route to 2001:db8:1::2")),
        path=out + back,
        namespaces={"4:4026532501": "web", "4:4026531840": "host", "4:4026532502": "inet"},
    )


def failed() -> Report:
    """No such namespace."""
    return report("ns9", "8.8.8.8", "error", "predicted", "no network namespace answers to ns9 (there are ns1, ns2)")
