"""Random namespaces full of routes: what ip(8), nexthop objects and sysctls can say, in both families."""

import ipaddress
import random
from dataclasses import dataclass, field

from lab.topology import Topology

DEVICES = ("d0", "d1", "d2", "d3")
TABLES = ("main", "main", "main", "100", "200")
SPECIAL = ("blackhole", "unreachable", "prohibit", "throw")
TOPOLOGY = Topology(
    title="A namespace with four cables to another",
    roles=("box", "far"),
    cables=tuple(f"box:{device} far:p{number}" for number, device in enumerate(DEVICES)),
)


@dataclass
class Recipe:
    """What is done to the empty namespace: ip(8) batch lines, lines for the other end, sysctls. `kinds` for the table."""

    lines: list[str] = field(default_factory=list)
    far: list[str] = field(default_factory=list)
    sysctls: list[str] = field(default_factory=list)
    prefixes: dict[int, list[str]] = field(default_factory=lambda: {4: [], 6: []})
    own: dict[int, list[str]] = field(default_factory=lambda: {4: [], 6: []})


def recipe(dice: random.Random) -> Recipe:
    """One random world."""
    made = Recipe()
    for family in (4, 6):
        _addresses(dice, made, family)
        _next_hop_objects(dice, made, family)
        _routes(dice, made, family)
        if dice.random() < 0.6:
            _rules(dice, made, family)
        _neighbours(dice, made, family)
    _link_states(dice, made)
    _sysctls(dice, made)
    return made


def host_of(dice: random.Random, family: int, subnet: int) -> str:
    return f"10.{subnet}.0.{dice.randint(1, 9)}" if family == 4 else _short(f"fd00:{subnet}::{dice.randint(1, 9):x}")


def _short(address: str) -> str:
    return str(ipaddress.ip_address(address))


def _addresses(dice: random.Random, made: Recipe, family: int) -> None:
    for number, device in enumerate(DEVICES):
        for _ in range(dice.choice((0, 1, 1, 1, 2, 3))):
            subnet = number if dice.random() < 0.8 else dice.randint(0, 4)
            local = host_of(dice, family, subnet)
            length = dice.choice((24, 24, 30, 16, 32) if family == 4 else (64, 64, 126, 48, 128))
            words = [f"-{family} addr add {local}/{length} dev {device}"]
            if family == 4 and dice.random() < 0.15:
                words = [f"-4 addr add {local} peer {host_of(dice, 4, 4)}/{dice.choice((32, 24))} dev {device}"]
            if family == 4 and dice.random() < 0.15:
                words.append(f"scope {dice.choice(('link', 'host', 'site'))}")
            if family == 6:
                words.append(dice.choice(("nodad", "nodad", "nodad", "nodad preferred_lft 0", "nodad noprefixroute")))
            made.lines.append(" ".join(words))
            made.own[family].append(local)
    if dice.random() < 0.3:
        local = "10.99.0.1/32" if family == 4 else "fd00:99::1/128"
        made.lines.append(f"-{family} addr add {local} dev lo")
        made.own[family].append(local.partition("/")[0])
    if family == 6 and dice.random() < 0.3:
        made.lines.append(f"-6 addrlabel add prefix fd00:{dice.randint(0, 4)}::/32 label {dice.randint(20, 22)}")
    if family == 6 and dice.random() < 0.4:
        made.lines.append(f"-6 addr add 2001:db8::{dice.randint(1, 9)}/64 dev {dice.choice(DEVICES)} nodad")


def _next_hop_objects(dice: random.Random, made: Recipe, family: int) -> None:
    first = 10 if family == 4 else 30
    for number in range(first, first + 4):
        subnet = dice.randint(0, 3)
        made.lines.append(
            f"-{family} nexthop add id {number} via {host_of(dice, family, subnet)} dev d{subnet} onlink"
            if dice.random() < 0.8
            else f"-{family} nexthop add id {number} dev d{subnet}"
        )
    made.lines.append(f"-{family} nexthop add id {first + 4} blackhole")
    for number in (first + 5, first + 6):
        members = dice.sample(range(first, first + 4), dice.randint(1, 3))
        group = "/".join(f"{one},{dice.randint(1, 5)}" for one in members)
        made.lines.append(f"-{family} nexthop add id {number} group {group}")


def _prefix(dice: random.Random, family: int) -> str:
    if family == 4:
        place = f"{dice.choice(('10', '8', '8', '172'))}.{dice.randint(0, 4)}.{dice.randint(0, 1)}.{dice.randint(0, 9)}"
        length = dice.choice((0, 0, 8, 9, 15, 16, 16, 20, 24, 24, 31, 32))
    else:
        place = f"{dice.choice(('fd00', '2001', '2001'))}:{dice.randint(0, 4)}::{dice.randint(0, 9):x}"
        length = dice.choice((0, 0, 16, 20, 32, 32, 48, 64, 127, 128))
    return str(ipaddress.ip_network(f"{place}/{length}", strict=False))


def _hop(dice: random.Random, family: int, made: Recipe) -> str:
    subnet = dice.randint(0, 3)
    kind = dice.random()
    if kind < 0.2:
        return f"dev d{subnet}"
    if kind < 0.28 and family == 4:
        return f"via inet6 fe80::{dice.randint(1, 9)} dev d{subnet}"
    if kind < 0.28:
        return f"via fe80::{dice.randint(1, 9)} dev d{subnet}"
    return f"via {host_of(dice, family, subnet)} dev d{subnet} onlink"


def _routes(dice: random.Random, made: Recipe, family: int) -> None:
    verb = f"-{family} route {dice.choice(('add', 'append'))}"
    for _ in range(dice.randint(3, 22)):
        prefix = _prefix(dice, family)
        made.prefixes[family].append(prefix)
        words = [f"table {dice.choice(TABLES)}", f"metric {dice.choice((0, 0, 5, 10, 50))}"]
        if family == 4 and dice.random() < 0.15:
            words.append(f"tos {dice.choice(('0x10', '0x08', '0x04'))}")
        if family == 6 and dice.random() < 0.15:
            words.append(f"from fd00:{dice.randint(0, 3)}::{'/64' if dice.random() < 0.7 else '/32'}")
        kind = dice.random()
        if kind < 0.16:
            made.lines.append(f"{verb} {dice.choice(SPECIAL)} {prefix} {' '.join(words)}")
            continue
        if kind < 0.2:
            made.lines.append(f"{verb} local {prefix} dev lo table {dice.choice(('local', '100', '200'))}")
            continue
        alone = family == 4 or "append" not in verb  # IPv6 shows next hops that were appended with the first one's src
        if dice.random() < 0.15 and made.own[family] and alone:
            words.append(f"src {dice.choice(made.own[family])}")
        if family == 6 and dice.random() < 0.25:
            words.append(f"pref {dice.choice(('low', 'medium', 'high'))}")
        if family == 4 and dice.random() < 0.1:
            words.append(f"scope {dice.choice(('link', 'site'))}")
        if kind < 0.32:
            hops = " ".join(
                f"nexthop {_hop(dice, family, made)} weight {dice.randint(1, 4)}" for _ in range(dice.randint(2, 3))
            )
            made.lines.append(f"{verb} {prefix} {' '.join(words)} {hops}")
        elif kind < 0.47:
            first = 10 if family == 4 else 30
            made.lines.append(f"{verb} {prefix} {' '.join(words)} nhid {dice.randint(first, first + 6)}")
        else:
            made.lines.append(f"{verb} {prefix} {_hop(dice, family, made)} {' '.join(words)}")


def _rules(dice: random.Random, made: Recipe, family: int) -> None:
    for number in range(dice.randint(1, 7)):
        selectors = [dice.choice((
            f"from {dice.choice(made.own[family] or [_prefix(dice, family)])}", f"to {_prefix(dice, family)}",
            "fwmark 0x5/0xff", "fwmark 7", "iif lo", f"iif {dice.choice(DEVICES)}", f"oif {dice.choice(DEVICES)}",
            "ipproto tcp dport 80", "ipproto udp sport 1000-2000", "dport 443", "uidrange 1000-2000", "tos 0x10",
            f"from {_prefix(dice, family)}", "iif gone", "",
        )) for _ in range(dice.choice((1, 1, 1, 2)))]  # fmt: skip
        negated = "not " if dice.random() < 0.15 and any(selectors) else ""
        action = dice.choice((
            "lookup 100", "lookup 100", "lookup 200", "lookup main", "lookup main suppress_prefixlength 0",
            "lookup 100 suppress_prefixlength 16", "lookup main suppress_ifgroup 7", "unreachable", "prohibit", "blackhole",
            f"goto {1000 + 10 * dice.randint(number, 8)}", "nop",
        ))  # fmt: skip
        order = 1000 + number * 10
        made.lines.append(f"-{family} rule add {negated}pref {order} {' '.join(dict.fromkeys(selectors))} {action}")
    if dice.random() < 0.05:
        made.lines.append(f"-{family} rule del pref 32766")
    if family == 4 and dice.random() < 0.1:
        made.lines += ["-4 rule add pref 30000 lookup local", "-4 rule del pref 0"]


def _neighbours(dice: random.Random, made: Recipe, family: int) -> None:
    for _ in range(dice.randint(0, 8)):
        subnet = dice.randint(0, 3)
        state = dice.choice(("failed", "failed", "stale", "permanent", "incomplete"))
        mac = "lladdr 02:00:00:00:00:09 " if state in ("stale", "permanent") else ""
        made.lines.append(f"neigh replace {host_of(dice, family, subnet)} dev d{subnet} {mac}nud {state}")


def _link_states(dice: random.Random, made: Recipe) -> None:
    for number, device in enumerate(DEVICES):
        kind = dice.random()
        if kind < 0.1:
            made.lines.append(f"link set {device} down")
        elif kind < 0.25:
            made.far.append(f"link set p{number} down")
        if dice.random() < 0.2:
            made.lines.insert(0, f"link set {device} group 7")


def _sysctls(dice: random.Random, made: Recipe) -> None:
    made.sysctls.append(f"net/ipv4/ip_forward={dice.choice((0, 1, 1))}")
    made.sysctls.append(f"net/ipv6/conf/all/forwarding={dice.choice((0, 1))}")
    made.sysctls.append(f"net/ipv4/fib_multipath_use_neigh={dice.choice((0, 0, 1))}")
    options = {
        "rp_filter": (0, 0, 1, 2), "accept_local": (0, 0, 0, 1), "route_localnet": (0, 0, 0, 1), "forwarding": (0, 1, 1, 1),
        "src_valid_mark": (0, 1), "ignore_routes_with_linkdown": (0, 1), "send_redirects": (0, 1),
    }  # fmt: skip
    for option, values in options.items():
        if dice.random() < 0.5:
            for device in DEVICES:
                made.sysctls.append(f"net/ipv4/conf/{device}/{option}={dice.choice(values)}")
        if option != "forwarding":
            made.sysctls.append(f"net/ipv4/conf/all/{option}={0 if dice.random() < 0.8 else max(values)}")
    for device in DEVICES:
        made.sysctls.append(f"net/ipv6/conf/{device}/ignore_routes_with_linkdown={dice.choice((0, 1))}")
        made.sysctls.append(f"net/ipv6/conf/{device}/use_oif_addrs_only={dice.choice((0, 0, 0, 1))}")
        made.sysctls.append(f"net/ipv6/conf/{device}/use_tempaddr={dice.choice((0, 0, 2))}")
