"""The routes of one namespace as a lookup meets them: by family and table, the longest prefix first."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from netdoctor.model.network import NextHop, PolicyRule, Route
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.addressing import contains, network_of, prefix
from netdoctor.walk.view import CannotTell, View

LOCAL, MAIN, DEFAULT = 255, 254, 253
TABLE_NAMES = {LOCAL: "local", MAIN: "main", DEFAULT: "default"}
ERRORS = {"blackhole", "unreachable", "prohibit"}
NUD_VALID = {"permanent", "noarp", "reachable", "probe", "stale", "delay"}
USED_NAMESPACES = 64


class Way(NamedTuple):
    """One way that a lookup may end: a route, and which of its next hops."""

    route: Route
    hop: NextHop | None


class Tables:
    """An index over a namespace's routes, made once: looking up costs as many steps as there are prefix lengths."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self.learned: dict[str, list[Route]] = {}
        self.local_by_hand = any(
            route.family == 4 and route.type == "local" and route.protocol != "kernel" for route in routes
        )
        self._leaves: dict[tuple[int, int], dict[int, dict[str, list[Route]]]] = {}
        for route in routes:
            if route.cached:
                self.learned.setdefault(route.destination.rpartition("/")[0], []).append(route)
                continue
            network, _, length = route.destination.rpartition("/")
            if ":" in network and "." in network:
                network = network_of(network, int(length)).rpartition("/")[0]
            lengths = self._leaves.setdefault((route.family, route.table), {})
            lengths.setdefault(int(length), {}).setdefault(f"{network}/{length}", []).append(route)

    def covering(self, family: int, searched: tuple[int, ...], address: str) -> Iterator[list[Route]]:
        """The routes of each prefix over the address, the longest prefix first, each in the kernel's order."""
        found = [leaves for table in searched if (leaves := self._leaves.get((family, table)))]
        for length in sorted({length for leaves in found for length in leaves}, reverse=True):
            network = network_of(address, length)
            routes = [route for leaves in found for route in leaves.get(length, {}).get(network, ())]
            if routes:
                yield routes

    def has_within(self, family: int, table: int, destination: str) -> bool:
        """True when the table has a longer prefix inside this one."""
        length = prefix(destination)[2]
        return any(
            contains(destination, other.rpartition("/")[0])
            for longer, leaves in self._leaves.get((family, table), {}).items()
            if longer > length
            for other in leaves
        )


class _Held:
    """A tuple told apart by which one it is: the index is kept for the very same routes, without hashing them."""

    __slots__ = ("items",)

    def __init__(self, items: tuple[Route, ...] | tuple[PolicyRule, ...]) -> None:
        self.items = items

    def __hash__(self) -> int:
        return id(self.items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and self.items is other.items


@lru_cache(maxsize=USED_NAMESPACES)
def _indexed(held: _Held) -> Tables:
    return Tables(tuple(one for one in held.items if isinstance(one, Route)))


@lru_cache(maxsize=USED_NAMESPACES)
def _ordered(held: _Held) -> dict[int, tuple[PolicyRule, ...]]:
    rules = sorted((one for one in held.items if isinstance(one, PolicyRule)), key=lambda rule: rule.priority)
    return {family: tuple(rule for rule in rules if rule.family == family) for family in (4, 6)}


def tables(view: View, key: NamespaceId) -> Tables:
    """The namespace's routes, indexed."""
    return _indexed(_Held(view.routes(key)))


def rules_in_order(view: View, key: NamespaceId, family: int) -> tuple[PolicyRule, ...]:
    """The family's policy rules by priority."""
    return _ordered(_Held(view.rules(key)))[family]


def neighbour_valid(view: View, key: NamespaceId, hop: NextHop, missing: bool = True) -> bool:
    """Whether the gateway's neighbour entry may be used (NUD_VALID); `missing` where there is none."""
    if not hop.gateway:
        return missing
    state = neighbour_state(view, key, hop)
    return missing if state is None else state in NUD_VALID


def neighbour_state(view: View, key: NamespaceId, hop: NextHop) -> str | None:
    """The state of the gateway's neighbour entry, None without one."""
    try:
        entries = view.neighbours(key)
    except CannotTell:
        return None
    found = (one for one in entries if one.index == hop.index and one.address == hop.gateway and not one.proxy)
    return next((one.state for one in found), None)


def suppressed(view: View, key: NamespaceId, rule: PolicyRule, route: Route, hop: NextHop | None) -> bool:
    """fib4_rule_suppress, fib6_rule_suppress: asked of routes that lead somewhere, errors are returned before.

    hop: whose interface group counts; IPv4 looks at a route's first, IPv6 at the one that was chosen.
    """
    limit = rule.suppress_prefix_length
    if limit is not None and prefix(route.destination)[2] <= limit:
        return True
    if rule.suppress_group is None or hop is None:
        return False
    device = view.link(key, hop.index)
    return device is not None and device.group == rule.suppress_group


def source_matches(route: Route, source: str) -> bool:
    """Source-specific routing (IPV6_SUBTREES): a packet without a source has the unspecified address."""
    return not route.source or contains(route.source, source or "::")
