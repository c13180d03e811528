"""Random rulesets for frames: netdev, bridge and arp chains, and ip rules that meet bridged packets."""

import random
from collections.abc import Mapping
from typing import NamedTuple

CONTAINERS = {4: ("10.5.0.2", "10.5.0.3", "10.5.0.4"), 6: ("fd05::2", "fd05::3", "fd05::4")}
OUTSIDE = {4: ("10.2.0.2", "10.2.0.3"), 6: ("fd02::2", "fd02::3")}
HOST = {4: "10.5.0.1", 6: "fd05::1"}
PORTS, DEVICES = ("p1", "p2", "p3"), ("p1", "p2", "p3", "br0", "right", "other")
MARKS = (1, 2, 3, 16)
MASQUERADE_6 = "-A POSTROUTING -s 2001:db8::1 -j MASQUERADE"
"""For nobody: but without a rule that needs it there is no connection tracking, and no packet asks the nat chains."""
CHAINS = {
    "netdev": ("ingress", "egress"),
    "bridge": ("prerouting", "input", "forward", "output", "postrouting"),
    "arp": ("input", "output"),
    "ip": ("prerouting", "input", "forward", "postrouting"),
    "ip6": ("prerouting", "input", "forward", "postrouting"),
    "inet": ("prerouting", "forward", "postrouting", "ingress"),
}
PRIORITIES = {
    "netdev": (-500, -1, 0, 1, 10), "bridge": (-300, -200, -1, 1, 100, 300), "arp": (-1, 0, 5),
    "ip": (-310, -250, -150, 0, 10), "ip6": (-310, -250, -150, 0, 10), "inet": (-310, -250, -150, 0, 10),
}  # fmt: skip


class Rules(NamedTuple):
    """A ruleset: (command, input) of each tool, and the words in each label's rule."""

    inputs: tuple[tuple[str, str], ...]
    words: dict[str, tuple[str, ...]]


class Maker:
    """Rules one after another, each with a label of its own and a counter."""

    def __init__(self, dice: random.Random, macs: Mapping[str, str]) -> None:
        self.dice = dice
        self.macs = macs
        self.words: dict[str, tuple[str, ...]] = {}

    def label(self, *words: str) -> str:
        name = f"r{len(self.words)}"
        self.words[name] = words
        return name

    # Native nf_tables --------------------------------------------------------------------------------------------

    def native(self, families: tuple[str, ...]) -> str:
        """Tables as `nft -f` reads them."""
        return "".join(
            self.table(family, number) for family in families for number in range(self.dice.choice((1, 1, 2)))
        )

    def table(self, family: str, number: int) -> str:
        dice = self.dice
        name = f"t{number}"
        hooks = [hook for hook in CHAINS[family] if dice.random() < 0.6] or [dice.choice(CHAINS[family])]
        lines = [f"table {family} {name} {{"]
        for inner in ("b", "a"):
            lines += [
                f"chain {inner} {{",
                *(self.rule(family, "", ("b",) if inner == "a" else ()) for _ in range(2)),
                "}",
            ]
        for place, hook in enumerate(hooks):
            policy = "drop" if dice.random() < 0.1 else "accept"
            devices = dice.sample(DEVICES, dice.choice((1, 1, 2))) if hook in ("ingress", "egress") else []
            where = f" devices = {{ {', '.join(devices)} }}" if devices else ""
            lines += [
                f"chain c{place} {{",
                f"type filter hook {hook}{where} priority {dice.choice(PRIORITIES[family])}; policy {policy};",
                *(self.rule(family, hook, ("a", "b")) for _ in range(dice.choice((1, 2, 3)))),
                "}",
            ]
        return "\n".join([*lines, "}", ""])

    def rule(self, family: str, hook: str, chains: tuple[str, ...]) -> str:
        action = self.action(family, hook, chains)
        conditions = [self.dice.choice(self._meta(family, hook))] if self.dice.random() < 0.4 else []
        if self.dice.random() < 0.9 and len(action) == 2:
            conditions = [one for one in conditions if one[0] != "protocol"] + [self.condition(family, hook)]
        name = self.label(*(word for word, _ in conditions), action[0])
        tests = " ".join([*action[2:], *(test for _, test in conditions)])
        return f'{tests} counter {action[1]} comment "{name}"'

    def condition(self, family: str, hook: str) -> tuple[str, str]:
        """A word for the report and the test itself."""
        dice = self.dice
        tests: list[tuple[str, str]] = []
        if family in ("netdev", "bridge"):
            tests += [*self._ether(), *self._network(4), *self._network(6), *self._arp(), *self._transport()]
        elif family == "arp":
            tests += [*self._arp(), *self._arp()]
        else:
            tests += [*self._transport()]
            tests += [*self._network(4)] if family in ("ip", "inet") else []
            tests += [*self._network(6)] if family in ("ip6", "inet") else []
        word, test = dice.choice(tests)
        return f"{family} {word}", test

    def _meta(self, family: str, hook: str) -> list[tuple[str, str]]:
        dice, mark = self.dice, self.dice.choice(MARKS)
        no = dice.choice(("", "", "!= "))
        ports = DEVICES if family in ("netdev", "ip", "ip6", "inet") else PORTS
        found = [
            ("mark", f"meta mark {no}{mark}"),
            ("mark mask", f"meta mark & {mark} == {mark}"),
            ("mark set", f"meta mark {{ 0, {mark} }}"),
            ("length", f"meta length {dice.choice(('<', '>='))} {dice.choice((60, 90, 130))}"),
        ]
        if family != "arp":
            found.append(("pkttype", f"meta pkttype {no}{dice.choice(('host', 'other', 'broadcast', 'multicast'))}"))
            found.append(("priority", f"meta priority {no}0:{dice.choice((0, 1))}"))
        if hook not in ("output", "egress"):
            found.append(("iifname", f"iifname {no}{dice.choice(ports)}"))
            found.append(("iif", f"iif {no}{dice.choice(ports)}"))
            found.append(("iifname set", f"iifname {{ {', '.join(dice.sample(ports, 2))} }}"))
        if hook not in ("prerouting", "input", "ingress"):
            found.append(("oifname", f"oifname {no}{dice.choice(ports)}"))
            found.append(("oifname wildcard", f'oifname "{dice.choice(("p*", "r*"))}"'))
        if family in ("netdev", "bridge"):
            found.append(("protocol", f"meta protocol {no}{dice.choice(('ip', 'ip6', 'arp'))}"))
        return found

    def _ether(self) -> list[tuple[str, str]]:
        mac, no = self.dice.choice(sorted(self.macs.values())), self.dice.choice(("", "!= "))
        kind = self.dice.choice(("ip", "ip6", "arp"))
        return [
            ("ether saddr", f"ether saddr {no}{mac}"), ("ether daddr", f"ether daddr {no}{mac}"),
            ("ether type", f"ether type {no}{kind}"), ("ether type set", f"ether type {{ arp, {kind} }}"),
            ("ether daddr bit", f"ether daddr & 01:00:00:00:00:00 {self.dice.choice(('==', '!='))} 01:00:00:00:00:00"),
        ]  # fmt: skip

    def _network(self, family: int) -> list[tuple[str, str]]:
        dice = self.dice
        word, ttl = ("ip", "ip ttl") if family == 4 else ("ip6", "ip6 hoplimit")
        places = (*CONTAINERS[family], *OUTSIDE[family], HOST[family])
        one, no = dice.choice(places), dice.choice(("", "!= "))
        some = ", ".join(dice.sample(places, 3))
        prefix = "10.5.0.2/31" if family == 4 else "fd05::2/127"
        return [
            (f"{word} saddr", f"{word} saddr {no}{one}"), (f"{word} daddr", f"{word} daddr {no}{one}"),
            (f"{word} saddr set", f"{word} saddr {{ {some} }}"), (f"{word} daddr prefix", f"{word} daddr {no}{prefix}"),
            (f"{word} interval set", f"{word} daddr {{ {prefix}, {OUTSIDE[family][0]} }}"),
            (f"{word} concatenation", f"{word} saddr . {word} daddr {{ {one} . {dice.choice(places)}, {places[0]} . {places[1]} }}"),
            (ttl, f"{ttl} {dice.choice(('<', '>', '!='))} 63"), (f"{word} dscp", f"{word} dscp {no}cs1"),
        ]  # fmt: skip

    def _arp(self) -> list[tuple[str, str]]:
        dice, one = self.dice, self.dice.choice((*CONTAINERS[4], HOST[4]))
        no = dice.choice(("", "!= "))
        return [
            ("arp operation", f"arp operation {no}{dice.choice(('request', 'reply'))}"),
            ("arp saddr ip", f"arp saddr ip {no}{one}"), ("arp daddr ip", f"arp daddr ip {no}{one}"),
            ("arp saddr ether", f"arp saddr ether {no}{dice.choice(sorted(self.macs.values()))}"),
            ("arp daddr ether", f"arp daddr ether {no}{dice.choice(sorted(self.macs.values()))}"),
            ("arp htype", f"arp htype {no}1"),
        ]  # fmt: skip

    def _transport(self) -> list[tuple[str, str]]:
        dice, port, no = self.dice, self.dice.choice((53, 80, 1000)), self.dice.choice(("", "!= "))
        return [
            ("l4proto", f"meta l4proto {no}{dice.choice(('tcp', 'udp', 'icmp', 'ipv6-icmp'))}"),
            ("l4proto set", "meta l4proto { tcp, icmp, ipv6-icmp }"), ("tcp dport", f"tcp dport {no}{port}"),
            ("udp dport range", f"udp dport {no}50-100"), ("th dport set", f"meta l4proto {{ tcp, udp }} th dport {{ 52, {port} }}"),
            ("udp length", f"udp length {dice.choice(('<', '>'))} 30"),
            ("tcp flags", f"tcp flags {dice.choice(('syn', 'syn / syn,ack', '& (syn | ack) == syn'))}"),
            ("icmp type", f"icmp type {no}echo-request"), ("icmpv6 type", f"icmpv6 type {no}echo-request"),
        ]  # fmt: skip

    def action(self, family: str, hook: str, chains: tuple[str, ...]) -> tuple[str, ...]:
        """A word for the report, the statement, and what must hold so that it runs to its end, counter or not."""
        dice, mark = self.dice, self.dice.choice(MARKS)
        found = [
            *(("drop", "drop"),) * 5, *(("accept", "accept"),) * 3, ("return", "return"), ("count", ""),
            *(("set mark", f"meta mark set {mark}"),) * 2, ("set mark or", f"meta mark set mark | {mark}"),
            *((("jump", f"jump {dice.choice(chains)}"), ("goto", f"goto {dice.choice(chains)}")) if chains else ()),
        ]  # fmt: skip
        if family in ("netdev", "bridge"):
            last = f"{{ arp : {dice.choice(('accept', 'drop'))}, ip : {dice.choice(('accept', 'continue'))} }}"
            found.append(("ether type vmap", f"ether type vmap {last}", "ether type { arp, ip }"))
            found.append(("set dscp", "ip dscp set cs1", "meta protocol ip"))
            found.append(("set ttl", "ip ttl set 33", "meta protocol ip"))
            found.append(
                ("set mark map", "meta mark set ether type map { arp : 1, ip : 2, ip6 : 3 }", "ether type != 0")
            )
            found.append(("set priority", "meta priority set 0:1"))
        if family in ("ip", "ip6", "inet"):
            found.append(
                (
                    "l4proto vmap",
                    f"meta l4proto vmap {{ tcp : accept, udp : {dice.choice(('drop', 'continue'))} }}",
                    "meta l4proto { tcp, udp }",
                )
            )
        return dice.choice(found)

    # iptables ----------------------------------------------------------------------------------------------------

    def iptables(self, family: int) -> str:
        """Tables as iptables-restore reads them, with rules that bridged packets meet."""
        parts = []
        for table, chains in (
            ("raw", ("PREROUTING",)), ("mangle", ("PREROUTING", "INPUT", "FORWARD", "POSTROUTING")),
            ("nat", ("PREROUTING", "POSTROUTING")), ("filter", ("INPUT", "FORWARD")),
        ):  # fmt: skip
            heads, rules = [f"*{table}"], []
            for chain in chains:
                policy = "DROP" if table == "filter" and self.dice.random() < 0.1 else "ACCEPT"
                heads.append(f":{chain} {policy}")
                rules += [self.line(table, chain, family) for _ in range(self.dice.choice((0, 1, 2, 3)))]
            if rules and table == "nat":
                rules.append("-A POSTROUTING -s 192.0.2.1 -j MASQUERADE" if family == 4 else MASQUERADE_6)
            parts += [*heads, *rules, "COMMIT"] if rules else []
        return "\n".join([*parts, ""])

    def line(self, table: str, chain: str, family: int) -> str:
        conditions = [self.match(chain, family) for _ in range(self.dice.choice((1, 1, 2)))]
        conditions = list({word: (word, test) for word, test in conditions}.values())
        action = self.target(table, chain, family)
        tests = " ".join(test for _, test in conditions)
        if action[1].endswith("REDIRECT") or ":" in action[1]:
            tests = " ".join(test for word, test in conditions if word not in ("-p", "tcp", "udp"))
            tests = f"-p tcp {tests}"
        name = self.label(*(f"iptables {word}" for word, _ in conditions), action[0])
        return f"-A {chain} {tests} -m comment --comment {name} {action[1]}"

    def match(self, chain: str, family: int) -> tuple[str, str]:
        dice = self.dice
        places = (*CONTAINERS[family], *OUTSIDE[family], HOST[family])
        no = dice.choice(("", "", "! "))
        echo = "icmp --icmp-type echo-request" if family == 4 else "ipv6-icmp"
        found = [
            ("-s", f"{no}-s {dice.choice(places)}"), ("-d", f"{no}-d {dice.choice(places)}"),
            ("-p", f"-p {dice.choice(('tcp', 'udp', echo))}"),
            ("tcp", f"-p tcp -m tcp --dport {dice.choice((53, 80))}"), ("udp", "-p udp -m udp --dport 50:100"),
            ("mark", f"-m mark {no}--mark {dice.choice(MARKS)}"), ("pkttype", f"-m pkttype {no}--pkt-type unicast"),
            ("length", f"-m length {no}--length 0:90"), ("mac", f"-m mac {no}--mac-source {self.macs['ns1']}"),
            ("conntrack", f"-m conntrack {no}--ctstate {dice.choice(('NEW', 'ESTABLISHED', 'NEW,RELATED'))}"),
            *self._physdev(chain, no), *self._physdev(chain, no),
        ]  # fmt: skip
        if chain not in ("OUTPUT", "POSTROUTING"):
            found.append(("-i", f"{no}-i {dice.choice(('br0', 'right', 'p1', 'br+'))}"))
        if chain in ("FORWARD", "OUTPUT", "POSTROUTING"):
            found.append(("-o", f"{no}-o {dice.choice(('br0', 'right', 'p2'))}"))
        if chain in ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"):
            found.append(("addrtype", f"-m addrtype {no}--dst-type LOCAL"))
        chosen = dice.choice(found)
        return ("mark", f"-m mark {no}--mark 1") if chosen[0] == "mac" and chain == "POSTROUTING" else chosen

    def _physdev(self, chain: str, no: str) -> list[tuple[str, str]]:
        port = self.dice.choice((*PORTS, "p+"))
        found = [
            ("physdev in", f"-m physdev {no}--physdev-in {port}"),
            ("physdev is-in", f"-m physdev {no}--physdev-is-in"),
        ]
        if chain in ("FORWARD", "POSTROUTING"):
            found.append(("physdev is-bridged", f"-m physdev {no}--physdev-is-bridged"))
            found.append(("physdev is-out", f"-m physdev {no}--physdev-is-out --physdev-is-bridged"))
            found.append(("physdev out", f"-m physdev {no}--physdev-out {port} --physdev-is-bridged"))
        return found

    def target(self, table: str, chain: str, family: int) -> tuple[str, str]:
        dice = self.dice
        inside = dice.choice(CONTAINERS[family])
        ported = f"[{inside}]:80" if family == 6 else f"{inside}:80"
        if table == "nat" and chain == "PREROUTING":
            return dice.choice(
                (("DNAT", f"-j DNAT --to-destination {inside}"), ("DNAT port", f"-j DNAT --to-destination {ported}"),
                 ("REDIRECT", "-j REDIRECT"), ("ACCEPT", "-j ACCEPT"))
            )  # fmt: skip
        if table == "nat":
            source = HOST[family]
            return dice.choice(
                (("MASQUERADE", "-j MASQUERADE"), ("SNAT", f"-j SNAT --to-source {source}"), ("ACCEPT", "-j ACCEPT"))
            )
        found = [("ACCEPT", "-j ACCEPT"), ("count", "")]
        found += [("DROP", "-j DROP")] * 2 if dice.random() < (1 if table == "filter" else 0.3) else []
        if table == "mangle":
            mark = dice.choice(MARKS)
            found += [("MARK", f"-j MARK --set-mark {mark}"), ("MARK or", f"-j MARK --or-mark {mark}")] * 2
            found += [("CONNMARK", "-j CONNMARK --save-mark"), ("CONNMARK restore", "-j CONNMARK --restore-mark")]
        if table == "raw":
            found += [("NOTRACK", "-j CT --notrack"), ("raw MARK", "-j MARK --set-mark 1")]
        return dice.choice(found)


def bridged_rules(dice: random.Random, backend: str, macs: Mapping[str, str]) -> Rules:
    """One ruleset. backend: "nft", or "iptables-legacy" or "iptables-nft" beside native bridge and netdev tables."""
    maker = Maker(dice, macs)
    if backend == "nft":
        families = tuple(dice.sample(sorted(CHAINS), dice.choice((1, 2, 3))))
        return Rules((("nft -f -", maker.native(families)),), maker.words)
    inputs = [
        (f"{tool}-{backend[9:]}-restore", maker.iptables(family))
        for tool, family in (("iptables", 4), ("ip6tables", 6))
    ]
    if dice.random() < 0.5:
        inputs.append(("nft -f -", maker.native((dice.choice(("netdev", "bridge", "arp")),))))
    return Rules(tuple(inputs), maker.words)
