"""How a rule reads: as iptables-save prints it, or as nft list ruleset does."""

from collections.abc import Mapping

from netdoctor.model.firewall import Chain, Rule, Ruleset, Table


def rule_text(
    table: Table, chain: Chain, rule: Rule, ruleset: Ruleset | None = None, devices: Mapping[int, str] | None = None
) -> str:
    """The rule as its own tool prints it. `ruleset` tells the names of ipsets, `devices` those of interface indexes."""
    if table.backend == "nft":
        from .nft_text import nft_text

        return nft_text(table, rule, devices)
    from .iptables_text import iptables_text

    return iptables_text(table, chain, rule, ruleset)


def chain_text(table: Table, chain: Chain) -> str:
    """A chain's head: ":FORWARD DROP [0:0]" is iptables' way, "chain forward { type filter hook ... }" nft's."""
    if table.backend != "nft":
        return f"-P {chain.name} {chain.policy.upper()}" if chain.hook else f"-N {chain.name}"
    if not chain.hook:
        return f"chain {chain.name}"
    devices = f" device {chain.devices[0]}" if len(chain.devices) == 1 else ""
    head = f"type {chain.type} hook {chain.hook}{devices} priority {chain.priority}; policy {chain.policy};"
    return f"chain {chain.name} {{ {head} }}"
