"""Two firewalls in one namespace: rules of iptables-legacy beside rules of iptables-nft."""

from netdoctor.model.diagnosis import Cause
from netdoctor.model.firewall import Table
from netdoctor.model.snapshot import NamespaceId, Snapshot
from netdoctor.model.unknown import Unknown

BACKENDS = ("iptables-legacy", "iptables-nft")


def warning(snapshot: Snapshot, key: NamespaceId) -> Cause | None:
    """The warning for this namespace, where both backends hold rules or policies of one family; None elsewhere."""
    namespace = snapshot.namespaces.get(key)
    if namespace is None or isinstance(namespace.ruleset.tables, Unknown):
        return None
    used = [table for table in namespace.ruleset.tables if table.backend in BACKENDS and _says_something(table)]
    for family in ("ip", "ip6"):
        held = {name: [one for one in used if (one.backend, one.family) == (name, family)] for name in BACKENDS}
        if all(held.values()):
            return _told(namespace.name, key, family, {name: [one.name for one in held[name]] for name in BACKENDS})
    return None


def _says_something(table: Table) -> bool:
    return any(
        chain.policy != "accept" or (not isinstance(chain.rules, Unknown) and len(chain.rules) > 0)
        for chain in table.chains
    )


def _told(name: str, key: NamespaceId, family: str, held: dict[str, list[str]]) -> Cause:
    tool = "ip6tables" if family == "ip6" else "iptables"
    tables = " beside ".join(f"{backend} ({', '.join(names)})" for backend, names in held.items())
    return Cause(
        slug="two-firewalls",
        layer="firewall",
        namespace=key,
        object=tables,
        summary=f"two firewalls in {name}: {tables}. A packet must be accepted by both, an ACCEPT in the one does not end the "
        f"other, and `{tool} -S` shows one of them only",
        expected="one backend",
        observed=tables,
        advice=(
            f"look at both (`{tool}-legacy-save`, `{tool}-nft-save`), move the rules to the one that the host's programs use, "
            f"and empty the other (`update-alternatives --config {tool}` says which `{tool}` is)",
        ),
    )
