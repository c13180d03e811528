"""Which chains a hook runs, in the kernel's order (net/netfilter/core.c nf_hook_entries_grow, nf_nat_core.c)."""

from netdoctor.model.firewall import Chain, Ruleset, Table
from netdoctor.model.unknown import Unknown

from .result import BaseChain, HookFamily

NAT_PRIORITY = {"prerouting": -100, "output": -100, "input": 100, "postrouting": 100}
"""All nat chains of a hook run from one place, whatever their own priority; that one orders them among themselves."""


def base_chains(ruleset: Ruleset, family: HookFamily, hook: str, device: str = "") -> tuple[BaseChain, ...]:
    """The chains `hook` runs for packets of `family`, in order.

    device: for ingress and egress hooks, which only run on the devices they name.
    An unread ruleset has none: the caller looks at `ruleset.tables` first.
    """
    if isinstance(ruleset.tables, Unknown):
        return ()
    hooked = [
        (table, chain)
        for table in ruleset.tables
        if _sees(table, family, hook) and not table.dormant
        for chain in table.base_chains
        if chain.hook == hook and (not chain.devices or device in chain.devices)
    ]
    youngest_first = _by_registration(hooked)[::-1]
    ordered = sorted(youngest_first, key=lambda pair: _place(pair[1]))
    return tuple(_base(ruleset, table, chain) for table, chain in ordered)


def _by_registration(hooked: list[tuple[Table, Chain]]) -> list[tuple[Table, Chain]]:
    """Oldest first, as far as dumps tell: tables and chains are listed as they were made.

    Of chains with the same priority the kernel runs the youngest first. When legacy chains were hooked in no dump says;
    they are taken for the oldest.
    """
    return sorted(hooked, key=lambda pair: pair[0].backend != "iptables-legacy")


def _base(ruleset: Ruleset, table: Table, chain: Chain) -> BaseChain:
    return BaseChain(
        ruleset=ruleset,
        table=table,
        chain=chain,
        hook=chain.hook,
        priority=_place(chain)[0],
        is_nat=_is_nat(chain),
    )


def _is_nat(chain: Chain) -> bool:
    return chain.type == "nat"


def _sees(table: Table, family: HookFamily, hook: str) -> bool:
    """True when the table's chains can hang in a hook of this family; inet's ingress is netdev's."""
    if table.family == "inet":
        return family in ("ip", "ip6") if hook not in ("ingress", "egress") else family == "netdev"
    return table.family == family


def _place(chain: Chain) -> tuple[int, int]:
    if _is_nat(chain):
        return NAT_PRIORITY.get(chain.hook, chain.priority), chain.priority
    return chain.priority, 0
