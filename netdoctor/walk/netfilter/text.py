"""How a rule reads: as iptables-save prints it, or as nft list ruleset does."""

from netdoctor.model.firewall import Chain, Rule, Table


def rule_text(table: Table, chain: Chain, rule: Rule) -> str:
    """The rule as its own tool prints it."""
    return f"{chain.name} rule {rule.line}"


def chain_text(table: Table, chain: Chain) -> str:
    return chain.name
