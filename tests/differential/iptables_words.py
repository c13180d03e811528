"""What iptables rules are made of: each word with the chains it may stand in.

S1 S2 D1 D2 FAR are hosts, SNET DNET their networks, H1 H2 H3 the host's own addresses (see ADDRESSES).
"""

from typing import NamedTuple

HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
ADDRESSES = {
    4: {
        "S1": "10.1.0.2", "S2": "10.1.0.3", "D1": "10.2.0.2", "D2": "10.2.0.3", "FAR": "10.9.0.9", "H1": "10.1.0.1",
        "H2": "10.2.0.1", "H3": "10.3.0.1", "SNET": "10.1.0.0/24", "DNET": "10.2.0.0/24", "DLOW": "10.2.0.2/31",
        "NINE": "10.9.0.0/24", "SFIRST": "10.1.0.0", "DLAST": "10.2.0.9", "ICMP": "icmp", "MATCHICMP": "icmp",
        "TYPEWORD": "--icmp-type", "HLWORD": "ttl --ttl", "ERROR": "3",
    },
    6: {
        "S1": "fd01::2", "S2": "fd01::3", "D1": "fd02::2", "D2": "fd02::3", "FAR": "fd09::9", "H1": "fd01::1",
        "H2": "fd02::1", "H3": "fd03::1", "SNET": "fd01::/64", "DNET": "fd02::/64", "DLOW": "fd02::2/127",
        "NINE": "fd09::/64", "SFIRST": "fd01::", "DLAST": "fd02::9", "ICMP": "ipv6-icmp", "MATCHICMP": "icmp6",
        "TYPEWORD": "--icmpv6-type", "HLWORD": "hl --hl", "ERROR": "1",
    },
}  # fmt: skip
IN, OUT = ("PREROUTING", "INPUT", "FORWARD"), ("FORWARD", "OUTPUT", "POSTROUTING")
LOCAL = ("OUTPUT", "POSTROUTING")


class Word(NamedTuple):
    """A condition or a target: its name in the report, its texts, and where it may stand.

    families: 4 and 6; chains and tables: () is everywhere. group: two words of one group do not stand in one rule.
    """

    name: str
    texts: tuple[str, ...]
    group: str = ""
    chains: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    families: tuple[int, ...] = (4, 6)


CONDITIONS = (
    Word("-s", ("-s S1", "! -s S1", "-s SNET", "! -s DNET"), "source"),
    Word("-d", ("-d D1", "! -d D2", "-d DNET", "-d DLOW", "! -d NINE"), "destination"),
    Word("-i", ("-i left", "-i le+", "! -i right", "! -i lo"), "-i", IN),
    Word("-o", ("-o right", "! -o left", "-o ri+", "-o other", "! -o other"), "-o", OUT),
    Word("-p", ("-p tcp", "-p udp", "-p ICMP", "! -p tcp", "! -p udp"), "protocol"),
    Word("tcp", (
        "-p tcp -m tcp --dport 80", "-p tcp -m tcp --sport 1:40000", "-p tcp -m tcp ! --dport 53",
        "-p tcp -m tcp --tcp-flags SYN,ACK SYN", "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN",
        "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE", "-p tcp -m tcp ! --sport 1:30000 --dport 50:1000",
    ), "protocol"),
    Word("udp", (
        "-p udp -m udp --dport 80", "-p udp -m udp ! --dport 53", "-p udp -m udp --dport 50:90",
        "-p udp -m udp --sport 30000:65000",
    ), "protocol"),
    Word("icmp", (
        "-p icmp -m icmp --icmp-type 8", "-p icmp -m icmp ! --icmp-type 8", "-p icmp -m icmp --icmp-type any",
        "-p icmp -m icmp --icmp-type 0",
    ), "protocol", families=(4,)),
    Word("icmp6", (
        "-p ipv6-icmp -m icmp6 --icmpv6-type 128", "-p ipv6-icmp -m icmp6 ! --icmpv6-type 128",
        "-p ipv6-icmp -m icmp6 --icmpv6-type 129",
    ), "protocol", families=(6,)),
    Word("multiport", (
        "-p tcp -m multiport --dports 53,80:90", "-p udp -m multiport ! --ports 53,1000",
        "-p udp -m multiport --sports 20000:40000", "-p tcp -m multiport ! --dports 80,1000",
    ), "protocol"),
    Word("mark", ("-m mark --mark 1", "-m mark --mark 2/3", "-m mark ! --mark 1", "-m mark --mark 0")),
    Word("connmark", ("-m connmark --mark 1", "-m connmark ! --mark 1", "-m connmark --mark 0/2")),
    Word("conntrack", (
        "-m conntrack --ctstate NEW", "-m conntrack --ctstate RELATED,ESTABLISHED", "-m conntrack ! --ctstate NEW",
        "-m conntrack --ctstate INVALID", "-m conntrack --ctstate UNTRACKED", "-m conntrack --ctstate DNAT",
        "-m conntrack ! --ctstate SNAT", "-m conntrack --ctdir ORIGINAL", "-m conntrack --ctdir REPLY",
        "-m conntrack --ctorigdst D1", "-m conntrack ! --ctorigsrc S1", "-m conntrack --ctreplsrc DNET",
        "-m conntrack --ctrepldst H2", "-m conntrack --ctproto udp", "-m conntrack --ctorigdstport 80",
        "-m conntrack --ctorigdstport 1:100 --ctorigsrcport 1000:65000", "-m conntrack ! --ctreplsrcport 53",
        "-m conntrack --ctstatus SEEN_REPLY", "-m conntrack --ctstatus CONFIRMED", "-m conntrack ! --ctstatus ASSURED",
        "-m conntrack --ctstatus NONE",
    )),
    Word("state", ("-m state --state NEW", "-m state --state ESTABLISHED", "-m state --state INVALID,UNTRACKED")),
    Word("addrtype", (
        "-m addrtype --dst-type LOCAL", "-m addrtype ! --src-type LOCAL", "-m addrtype --dst-type UNICAST",
        "-m addrtype ! --dst-type LOCAL",
    )),
    Word("addrtype limit-iface", ("-m addrtype --dst-type UNICAST --limit-iface-in",), "", ("PREROUTING", "INPUT")),
    Word("iprange", (
        "-m iprange --src-range SFIRST-S1", "-m iprange ! --dst-range D1-DLAST", "-m iprange --dst-range D2-DLAST",
        "-m iprange --src-range S1-S2 ! --dst-range D2-DLAST",
    )),
    Word("length", ("-m length --length 0:80", "-m length ! --length 100", "-m length --length 100:200")),
    Word("ttl/hl", ("-m HLWORD-eq 63", "-m HLWORD-lt 64", "-m HLWORD-gt 20", "-m HLWORD-eq 64")),
    Word("pkttype", ("-m pkttype --pkt-type unicast", "-m pkttype ! --pkt-type broadcast"), "", IN),
    Word("dscp", ("-m dscp --dscp 4", "-m dscp ! --dscp 4", "-m dscp --dscp 0")),
    Word("tos", ("-m tos --tos 0x10", "-m tos ! --tos 0x10/0x3f")),
    Word("owner", (
        "-m owner --uid-owner 0", "-m owner ! --uid-owner 1000", "-m owner --gid-owner 0",
        "-m owner --socket-exists",
    ), "", LOCAL),
    Word("socket", ("-m socket", "-m socket --nowildcard"), "", ("PREROUTING", "INPUT"), ("raw", "mangle", "filter", "security")),
    Word("physdev", (
        "-m physdev ! --physdev-is-bridged", "-m physdev ! --physdev-is-in", "-m physdev ! --physdev-in left",
    ), "", ("FORWARD", "INPUT")),
    Word("mac", ("-m mac ! --mac-source 02:00:00:00:00:01", "-m mac --mac-source 02:00:00:00:00:01"), "", IN),
    Word("rpfilter", ("-m rpfilter", "-m rpfilter --invert", "-m rpfilter --loose", "-m rpfilter --validmark"), "",
         ("PREROUTING",), ("raw", "mangle")),
    Word("policy", ("-m policy --dir in --pol none",), "", ("PREROUTING", "INPUT", "FORWARD")),
    Word("set", (
        "-m set --match-set near%F src", "-m set ! --match-set near%F dst", "-m set --match-set nets%F dst",
        "-m set --match-set pairs%F dst,dst", "-m set ! --match-set pairs%F src,dst", "-m set --match-set ports dst",
    )),
    Word("string", (
        "-m string --string info_hash --algo bm", "-m string ! --string needle --algo kmp",
        "-m string --hex-string |00000000000000000000| --algo bm --from 20 --to 62",
    )),
    Word("u32", ('-m u32 --u32 "0>>28=4"', '-m u32 ! --u32 "0>>28=4"', '-m u32 --u32 "4&0xFF=0x40"')),
    Word("bpf", ('-m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0"',
                 '-m bpf --bytecode "4,48 0 0 6,21 0 1 6,6 0 0 1,6 0 0 0"')),
    Word("tcpmss", ("-p tcp -m tcp --tcp-flags SYN,RST SYN -m tcpmss --mss 1:1400",), "protocol"),
    Word("helper", ("-m helper --helper ftp", "-m helper ! --helper ftp")),
    Word("cgroup", ("-m cgroup ! --cgroup 1",), "", LOCAL),
    Word("connlimit", (
        "-m state --state NEW -m connlimit --connlimit-upto 5000 --connlimit-mask 0",
        "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m connlimit --connlimit-upto 5000 --connlimit-mask 0",
        "-m connlimit --connlimit-upto 5000 --connlimit-mask 0",
    ), "protocol"),
    Word("limit", ("-m limit --limit 1/hour --limit-burst 5",)),
    Word("hashlimit", ("-m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 3 --hashlimit-mode srcip --hashlimit-name h%N",)),
    Word("statistic", ("-m statistic --mode random --probability 0.5", "-m statistic --mode nth --every 2 --packet 0")),
    Word("time", ("-m time --timestart 00:00 --timestop 12:00",)),
    Word("recent", ("-m recent --name r%N --set --rsource", "-m recent --name r%N --rcheck --rsource")),
    Word("quota", ("-m quota --quota 400",)),
)  # fmt: skip
UNFORESEEABLE = ("cgroup", "limit", "hashlimit", "statistic", "time", "recent", "quota")
"""How fast, how much, when, by chance: nobody can tell these beforehand, and they spoil what comes after."""
FILTER, MANGLE, RAW, NAT = ("filter",), ("mangle",), ("raw",), ("nat",)
DESTINATION, SOURCE = ("PREROUTING", "OUTPUT"), ("POSTROUTING", "INPUT")
TARGETS = (
    Word("ACCEPT", ("-j ACCEPT",)),
    Word("DROP", ("-j DROP",), tables=("filter", "mangle", "raw", "security")),
    Word("RETURN", ("-j RETURN",)),
    Word("jump", ("-j %1", "-j %2")),
    Word("goto", ("-g %1", "-g %2")),
    Word("none", ("",)),
    Word("REJECT", (
        "-j REJECT", "-j REJECT --reject-with icmp-host-prohibited", "-j REJECT --reject-with icmp-net-unreachable",
    ), chains=("INPUT", "FORWARD", "OUTPUT"), tables=FILTER, families=(4,)),
    Word("REJECT", (
        "-j REJECT", "-j REJECT --reject-with icmp6-adm-prohibited", "-j REJECT --reject-with icmp6-no-route",
    ), chains=("INPUT", "FORWARD", "OUTPUT"), tables=FILTER, families=(6,)),
    Word("LOG", ("-j LOG", "-j LOG --log-prefix x")),
    Word("NFLOG", ("-j NFLOG --nflog-group 5",)),
    Word("MARK", ("-j MARK --set-xmark 1", "-j MARK --set-xmark 2/2", "-j MARK --set-xmark 0/1", "-j MARK --or-mark 4"),
         tables=MANGLE),
    Word("CONNMARK", (
        "-j CONNMARK --set-xmark 1", "-j CONNMARK --save-mark", "-j CONNMARK --restore-mark",
        "-j CONNMARK --set-xmark 2/2", "-j CONNMARK --restore-mark --nfmask 1 --ctmask 1",
    ), tables=("mangle", "filter", "nat")),
    Word("CLASSIFY", ("-j CLASSIFY --set-class 1:2",), chains=OUT, tables=MANGLE),
    Word("TTL", ("-j TTL --ttl-set 40", "-j TTL --ttl-inc 1", "-j TTL --ttl-dec 2"), tables=MANGLE, families=(4,)),
    Word("HL", ("-j HL --hl-set 40", "-j HL --hl-inc 1", "-j HL --hl-dec 2"), tables=MANGLE, families=(6,)),
    Word("DSCP", ("-j DSCP --set-dscp 4", "-j DSCP --set-dscp 0"), tables=MANGLE),
    Word("TOS", ("-j TOS --set-tos 0x10/0x3f",), tables=MANGLE),
    Word("CHECKSUM", ("-p udp -j CHECKSUM --checksum-fill",), "protocol", tables=MANGLE),
    Word("TCPMSS", ("-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1200",), "protocol", OUT, MANGLE),
    Word("CT", ("-j CT --notrack", "-j CT --zone 1"), chains=("PREROUTING", "OUTPUT"), tables=RAW),
    Word("TRACE", ("-j TRACE",), chains=("PREROUTING", "OUTPUT"), tables=RAW),
    Word("TPROXY", ("-p udp -j TPROXY --on-port 80 --tproxy-mark 1", "-p tcp -m tcp --syn -j TPROXY --on-port 80"),
         "protocol", ("PREROUTING",), MANGLE),
    Word("SET", ("-j SET --add-set seen%F src", "-j SET --del-set seen%F src")),
    Word("NFQUEUE", ("-j NFQUEUE --queue-num 7 --queue-bypass", "-j NFQUEUE --queue-num 7"), tables=FILTER),
    Word("DNAT", (
        "-j DNAT --to-destination D2", "-p tcp -j DNAT --to-destination {D2}:8080", "-p udp -j DNAT --to-destination {D1}:80-90",
        "-j DNAT --to-destination FAR", "-j DNAT --to-destination D1-D2", "-j DNAT --to-destination D1-D2 --persistent",
    ), "protocol", DESTINATION, NAT),
    Word("REDIRECT", ("-p tcp -j REDIRECT --to-ports 8080", "-p udp -j REDIRECT --to-ports 53", "-j REDIRECT"),
         "protocol", DESTINATION, NAT),
    Word("NETMAP", ("-j NETMAP --to NINE",), chains=DESTINATION, tables=NAT),
    Word("SNAT", (
        "-j SNAT --to-source H2", "-p tcp -j SNAT --to-source {H2}:40000-40009", "-j SNAT --to-source H3",
        "-p udp -j SNAT --to-source {H2}:1-65535", "-j SNAT --to-source H2-DLAST", "-j SNAT --to-source H2-DLAST --random",
        "-j SNAT --to-source SFIRST-S1", "-j SNAT --to-source H2-DLAST --persistent",
    ), "protocol", SOURCE, NAT),
    Word("MASQUERADE", ("-j MASQUERADE", "-p udp -j MASQUERADE --to-ports 50000-50100", "-j MASQUERADE --random"),
         "protocol", ("POSTROUTING",), NAT),
)  # fmt: skip
IPSETS = """create near4 hash:ip
add near4 10.1.0.2
add near4 10.2.0.3
create nets4 hash:net
add nets4 10.2.0.0/24
add nets4 10.2.0.3 nomatch
create pairs4 hash:ip,port
add pairs4 10.2.0.2,tcp:80
add pairs4 10.2.0.3,udp:53
add pairs4 10.1.0.2,tcp:80
create seen4 hash:ip
create near6 hash:ip family inet6
add near6 fd01::2
add near6 fd02::3
create nets6 hash:net family inet6
add nets6 fd02::/64
create pairs6 hash:ip,port family inet6
add pairs6 fd02::2,tcp:80
add pairs6 fd02::3,udp:53
create seen6 hash:ip family inet6
create ports bitmap:port range 0-65535
add ports 80
add ports 53
"""
