"""Random small rulesets for the forward hook, in the words of iptables-restore and of nft."""

import random

IPTABLES_CONDITIONS = (
    "-s 10.1.0.2", "! -s 10.1.0.0/25", "-s 10.0.0.0/8", "-d 10.2.0.3", "-d 10.2.0.2/31", "! -d 10.2.0.3", "-i left",
    "-i le+", "! -i right", "-o right", "-o left", "! -o ri+", "-p tcp", "-p udp", "-p icmp", "! -p tcp",
    "-p tcp -m tcp --dport 80", "-p udp -m udp ! --dport 53", "-p udp -m udp --dport 50:90", "-p tcp -m tcp --syn",
    "-p tcp -m tcp --sport 1:30000", "-p udp -m udp --sport 30000:60000 --dport 1000",
    "-p icmp -m icmp --icmp-type 8",
    "-p icmp -m icmp ! --icmp-type 8", "-p tcp -m multiport --dports 53,80:90",
    "-p udp -m multiport ! --ports 53,1000",
    "-m mark --mark 1", "-m mark --mark 0x2/0x3", "-m mark ! --mark 1", "-m conntrack --ctstate NEW",
    "-m conntrack --ctstate RELATED,ESTABLISHED", "-m conntrack ! --ctstate NEW", "-m state --state INVALID",
    "-m addrtype --dst-type LOCAL", "-m addrtype ! --src-type LOCAL", "-m iprange --src-range 10.1.0.3-10.1.0.9",
    "-m iprange ! --dst-range 10.2.0.0-10.2.0.2", "-m length --length 0:60", "-m length ! --length 60",
    "-m ttl --ttl-eq 63",
    "-m ttl --ttl-lt 63", "-m pkttype --pkt-type unicast", "! -f", "-m conntrack --ctorigdst 10.2.0.2",
    "-m conntrack --ctdir ORIGINAL", "-m comment --comment any", "-m connmark --mark 1", "-m tos --tos 0",
    "-m dscp --dscp 4",
    "-m physdev --physdev-is-bridged", "-m owner --uid-owner 0", "-m policy --dir in --pol none", "",
)  # fmt: skip
IPTABLES_TARGETS = (
    "-j ACCEPT", "-j DROP", "-j DROP", "-j ACCEPT", "-j RETURN", "-j U1", "-j U2", "-g U1", "-g U2", "-j REJECT",
    "-j LOG", "",
)  # fmt: skip
NFT_CONDITIONS = (
    "ip saddr 10.1.0.2", "ip saddr != 10.1.0.0/25", "ip saddr 10.0.0.0/8", "ip daddr { 10.2.0.3, 10.9.0.1 }",
    "ip daddr 10.2.0.2/31", "ip daddr @near", "ip daddr != @near", "iifname left", 'iifname "le*"', "iif left",
    "oif != right", "oifname { left, right }", 'oifname != "ri*"', "meta l4proto { tcp, udp }", "ip protocol icmp",
    "tcp dport 80", "udp dport != 53", "udp dport 50-90", "tcp flags syn", "tcp flags & (syn | ack) == syn",
    "tcp dport { 53, 80-90 }", "th dport 1000", "icmp type echo-request", "icmp type != { echo-request, echo-reply }",
    "meta mark 1", "meta mark & 3 == 2", "meta mark != 1", "ct state new", "ct state established,related",
    "ct state != new", "ct state invalid", "fib daddr type local", "fib saddr type != local",
    "fib saddr . iif oif exists",
    "fib saddr . iif oif missing", "meta length 0-60", "meta length > 60", "ip ttl 63", "ip ttl < 63", "ip dscp cs1",
    "ip saddr . tcp dport { 10.1.0.2 . 80, 10.1.0.3 . 53 }", "ip saddr . udp dport @pairs", "ct direction original",
    "ct original ip daddr 10.2.0.2", "meta nfproto ipv4", "meta nfproto ipv6", "ip6 saddr fd00::/8",
    "ip saddr != { 10.1.0.3 }",
    "tcp sport 1-30000", "@nh,96,8 10", "ip length <= 60", "ct status dnat", "meta pkttype host",
    "ip frag-off & 0x1fff == 0",
    "ip saddr & 0.0.0.1 == 0.0.0.1", "",
)  # fmt: skip
NFT_STATEMENTS = (
    "accept", "drop", "drop", "accept", "return", "jump u1", "jump u2", "goto u1", "reject", "counter", "log",
    "tcp dport vmap { 80 : drop, 53 : jump u1 }", "ct state vmap { new : jump u2, invalid : drop }", "continue",
    "meta mark set 1", "meta mark set 2", "meta mark set meta mark | 1",
    "meta mark set ip saddr map { 10.1.0.2 : 1, 10.1.0.3 : 2 }",
    "th dport vmap @ports", "ip dscp set cs1",
)  # fmt: skip


def iptables_rules(choice: random.Random, marks: bool) -> str:
    """Input of iptables-restore: the forward chain with two chains to jump to, and marks set in mangle."""
    lines = ["*mangle", ":FORWARD ACCEPT"]
    for _ in range(2 if marks else 0):
        value = choice.choice(("1", "2/3"))
        lines.append(f"-A FORWARD {_unique(choice, IPTABLES_CONDITIONS)} -j MARK --set-xmark {value}")
    policy = choice.choice(("ACCEPT", "DROP"))
    lines += ["COMMIT", "*filter", f":FORWARD {policy}", ":U1 -", ":U2 -"]
    for chain, count in (("FORWARD", 5), ("U1", 3), ("U2", 2)):
        for _ in range(count):
            target = choice.choice(IPTABLES_TARGETS)
            while not _allowed(chain, target):
                target = choice.choice(IPTABLES_TARGETS)
            lines.append(f"-A {chain} {_unique(choice, IPTABLES_CONDITIONS)} {target}")
    return "\n".join([*lines, "COMMIT", ""])


def _allowed(chain: str, words: str) -> bool:
    """No loops: the forward chain jumps to both others, the first to the second, the second nowhere."""
    targets = {word.upper() for word in words.replace("}", " ").replace(",", " ").split()} & {"U1", "U2"}
    return not targets or chain.upper() in ("FORWARD", "F") or (chain.upper() == "U1" and targets == {"U2"})


def _unique(choice: random.Random, conditions: tuple[str, ...]) -> str:
    """One or two conditions that do not test the same header field twice."""
    first, second = choice.choice(conditions), choice.choice(conditions)
    flags = {word for word in first.split() if len(word) == 2 and word != "-m"}
    if choice.random() < 0.6 or flags & set(second.split()) or first.split()[:2] == second.split()[:2]:
        return first
    return (
        f"{first} {second}" if first.startswith(("-p", "! -p")) or not second.startswith("-p") else f"{second} {first}"
    )


def nft_rules(choice: random.Random) -> str:
    """Input of nft -f: an inet table with sets, maps and two chains to jump to."""
    policy = choice.choice(("accept", "drop"))
    lines = [
        "table inet t {",
        "set near { type ipv4_addr; flags interval; elements = { 10.2.0.0/31, 10.2.0.3-10.2.0.9 } }",
        "set pairs { type ipv4_addr . inet_service; flags interval",
        "elements = { 10.1.0.0/30 . 50-60, 10.1.0.3 . 1000 } }",
        "map ports { type inet_service : verdict; elements = { 80 : accept, 53 : drop } }",
        *_chain(choice, "u1", "", 3), *_chain(choice, "u2", "", 2),
        *_chain(choice, "f", f"type filter hook forward priority 0; policy {policy};", 6), "}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _chain(choice: random.Random, name: str, head: str, count: int) -> list[str]:
    lines = [f"chain {name} {{", head]
    while count:
        statement = choice.choice(NFT_STATEMENTS)
        if not _allowed(name, statement):
            continue
        conditions = choice.sample(NFT_CONDITIONS, choice.choice((1, 1, 2)))
        lines.append(" ".join([*conditions, statement]).strip())
        count -= 1
    return [*lines, "}"]
