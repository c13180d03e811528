"""A namespace's configuration as sorted, normalised lines, read with the system's own tools: for before and after.

Left out is what moves by itself (counters, timers, carrier, elections, learned entries) and what says nothing (an empty
chain that accepts).
"""

import os
import re
import subprocess

READ = r"""
tag() { sed "s|^|$1 |"; }
ip -d -o link | tag link
ip -o addr | tag addr
ip -4 rule | tag rule4
ip -6 rule | tag rule6
ip -4 route show table all | tag route4
ip -6 route show table all | tag route6
ip nexthop | tag nexthop
ip neigh show nud permanent | tag neigh
ip neigh show nud noarp | tag neigh
ip neigh show proxy | tag proxy
bridge -d -o link | tag port
bridge fdb show | grep -E 'permanent|static' | tag fdb
bridge mdb show 2>/dev/null | grep permanent | tag mdb
tc qdisc | tag qdisc
tc qdisc | sed -nE 's/^qdisc (clsact|ingress) .* dev ([^ ]+) .*/\2/p' | while read -r device; do
  for side in ingress egress; do tc filter show dev "$device" $side 2>/dev/null | tag "filter $device $side"; done
done
ip xfrm policy | tag xfrm-policy
ip xfrm state | tag xfrm-state
nft -s list ruleset | tag nft
for tool in iptables-nft ip6tables-nft iptables-legacy ip6tables-legacy; do $tool-save 2>/dev/null | tag $tool; done
cat /proc/net/ip_tables_names /proc/net/ip6_tables_names 2>/dev/null | sort | tag xtables
ipset save 2>/dev/null | tag ipset
sysctl -a -r '^net\.(bridge|netfilter|ipv4|ipv6)\.' 2>/dev/null | tag sysctl
for file in /etc/netns/"$NAME"/*; do [ -f "$file" ] && tag "etc ${file##*/}" < "$file"; done
true
"""

MOVING = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?<=^(?:link|addr|port) )\d+: ",
        r"@\w+(?=[: ])",
        r"\[\d+:\d+\]",
        r"# (Generated|Completed).*",
        r"\b\w+_timer +[\d.]+",
        r"\b(valid|preferred)_lft \w+",
        r"\bexpires -?\d+sec",
        r"\blink-netns \S+|\blink-netnsid \d+",
        r"\bstate (forwarding|disabled|blocking|listening|learning|UNKNOWN|UP|DOWN|LOWERLAYERDOWN)\b",
        r"NO-CARRIER,|,M-DOWN|,LOWER_UP",
        r"\b(linkdown|dead|tentative|dynamic)\b",
        r"\b(bridge_id|designated_\w+|port_id|port_no|topology_change\w*|promiscuity|allmulti|root_\w+) [\w.:]+",
    )
)
SELF_MADE = re.compile(
    r"(addr|route6|neigh) .*\bfe80:|neigh .*\b(ff02|224\.|239\.|lladdr 33:33|lladdr 01:00:5e)|neigh .*dev lo |"
    r"route6 (.*\bcache\b|multicast ff00::|anycast |local .*proto kernel)|fdb (33:33|01:00:5e)|"
    r"xfrm-policy (.*socket|\s*socket)|"
    r"sysctl \S*(stable_secret|nf_log|nf_conntrack_(count|buckets|max)\b|nf_hooks_lwtunnel|max_desync|"
    r"tcp_fastopen_key|route\.flush|tcp_mem|udp_mem)"
)
# An empty chain that accepts changes nothing: reading with iptables-nft, or undoing a rule, may leave one.
INERT = re.compile(r"\}|COMMIT|:\S+ ACCEPT|type \w+ hook \w+ .*policy accept;|")


def read_state(name: str) -> list[str]:
    """The configuration of the namespace called `name`; every line says the table or chain it stands in."""
    done = subprocess.run(
        ["ip", "netns", "exec", name, "bash", "-c", READ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NAME": name, "LC_ALL": "C"},
    )
    return normalise(done.stdout)


def normalise(text: str) -> list[str]:
    """Tagged lines without what moves, each with its block: "nft table inet gate / chain input: ct state new drop"."""
    lines: list[str] = []
    block, source = "", ""
    for raw in text.splitlines():
        if SELF_MADE.match(raw):
            continue
        line = raw
        for pattern in MOVING:
            line = pattern.sub("", line)
        tag, _, rest = line.partition(" ")
        if tag != source:
            source, block = tag, ""
        words = " ".join(rest.split())
        if tag == "nft" and words.endswith("{"):
            block = words[:-2] if words.startswith("table") else f"{block.split(' / ')[0]} / {words[:-2]}"
        elif words.startswith("*"):
            block = words
        elif not INERT.fullmatch(words):
            lines.append(f"{tag} {block}: {words}" if block else f"{tag} {words}")
    return lines
