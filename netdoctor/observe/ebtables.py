"""Whether legacy ebtables may have tables: which ones, only opening them would tell, and that makes them.

Source: net/bridge/netfilter/ebtables.c (find_table_lock), ebtable_filter.c, ebtable_nat.c, ebtable_broute.c.
"""

import os

from netdoctor.model.firewall import Chain, Table
from netdoctor.model.unknown import Unknown

MODULES = "/sys/module"
HOOKS = {
    "filter": (("input", -200), ("forward", -200), ("output", 200)),
    "nat": (("prerouting", -300), ("output", 100), ("postrouting", 300)),
    "broute": (("prerouting", -(1 << 31)),),
}


def possible_tables() -> tuple[Table, ...]:
    """The tables whose modules are loaded, with chains that cannot be read; without a module there is no table."""
    loaded = (name for name in HOOKS if os.path.isdir(f"{MODULES}/ebtable_{name}"))
    return tuple(Table(backend="iptables-legacy", family="bridge", name=name, chains=_chains(name)) for name in loaded)


def _chains(table: str) -> tuple[Chain, ...]:
    why = Unknown(f"ebtables-legacy may have a table {table}, and reading it would make one")
    return tuple(
        Chain(
            name="BROUTING" if table == "broute" else hook.upper(), hook=hook, type="filter", priority=priority,
            rules=why,
        )
        for hook, priority in HOOKS[table]
    )  # fmt: skip
