"""Who made an object, and who may undo a repair of it.

Programs are known by the names they give: of chains and tables, of sets, in comments, of interfaces. A rule that a
person typed has no owner, and a rule in a chain that a program makes for the person's own rules (DOCKER-USER) is theirs.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from netdoctor.model.firewall import Table


class Program(NamedTuple):
    """A program that writes rules, by its names. A name that ends in "-", "_" or " " is a prefix; devices is a pattern."""

    name: str
    chains: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()
    devices: str = ""


ADMINISTRATOR = "the administrator"
UNKNOWN = ""
OWN_CHAINS = {"DOCKER-USER": "Docker", "CNI-ADMIN": "a CNI plugin"}
"""Chains that a program makes and leaves to the administrator -> that program."""

KILL_SWITCH = "a VPN's kill switch"
PROGRAMS = (
    Program("fail2ban", ("f2b-", "fail2ban-"), ("f2b-table",), ("addr-set-", "addr6-set-", "f2b-")),
    Program("kube-proxy", ("KUBE-",), ("kube-proxy",), ("KUBE-",), ("kubernetes ",)),
    Program("Calico", ("cali-",), ("calico",), ("cali40", "cali60"), ("cali:",), r"cali[0-9a-f]{11}|tunl0|vxlan\.calico"),
    Program("Cilium", ("CILIUM_", "OLD_CILIUM_"), ("cilium",), ("cilium_",), ("cilium",), r"lxc[0-9a-f]{12}|cilium_\w+"),
    Program("flannel", ("FLANNEL-",), ("flannel-ipv4", "flannel-ipv6"), (), ("flanneld ",), r"flannel\.\d+"),
    Program("Podman (netavark)", ("NETAVARK-", "NETAVARK_", "nv_"), ("netavark",), (), ("netavark ",), r"podman\d+"),
    Program("a CNI plugin", ("CNI-",), ("cni_hostport", "cni_masquerade"), (), ("CNI ",), r"cni\d+|cni-\w+"),
    Program("Docker", ("DOCKER", "DOCKER-", "DOCKER_"), ("docker-bridges",), (), ("DOCKER ",), r"docker0|docker_gwbridge|br-[0-9a-f]{12}"),
    Program("libvirt", ("LIBVIRT_", "libvirt-"), ("libvirt_network",), (), (), r"virbr\d+"),
    Program("ufw", ("ufw-", "ufw6-"), (), (), ("'dapp_",)),
    Program("firewalld", (), ("firewalld", "firewalld_policy_drop")),
    Program("Tailscale", ("ts-",), (), (), (), r"tailscale\d+"),
    Program("LXC or Incus", (), ("lxc", "lxd", "incus"), (), ("generated for LXD ", "generated for Incus "), r"(lxc|lxd|incus)br\d+"),
    Program(f"{KILL_SWITCH} (Mullvad)", (), ("mullvad",)),
    Program(f"{KILL_SWITCH} (wg-quick)", (), ("wg-quick-",), (), ("wg-quick(8) ",)),
    Program(f"{KILL_SWITCH} (NordVPN)", ("nordvpn-",), ("nordvpn",), (), ("nordvpn-", "nordvpn")),
    Program(f"{KILL_SWITCH} (Proton VPN)", ("PVPN-", "PROTONVPN-"), ("protonvpn", "pvpn-"), (), ("protonvpn",)),
)  # fmt: skip
POLICY_SETTERS = ("ufw", "Docker")
"""Programs that set the policies of built-in chains, the one that sets most first."""

REVERTS = {
    "Docker": "Docker writes its own chains anew when it restarts or a network changes, and leaves DOCKER-USER as it is",
    "ufw": "ufw writes its chains anew from /etc/ufw at `ufw reload` and at boot",
    "firewalld": "firewalld writes its table anew at `firewall-cmd --reload`, when it restarts and when a zone changes",
    "kube-proxy": "kube-proxy writes its chains anew within seconds (iptables.minSyncPeriod, syncPeriod)",
    "Calico": "Felix writes its chains anew within seconds (IptablesRefreshInterval)",
    "libvirt": "libvirt puts its jumps back in front when a network starts or libvirtd restarts",
    "fail2ban": "fail2ban bans the address again when its filter matches again, or when it restarts before the ban is over",
    "Tailscale": "tailscaled puts its jumps back in front when it restarts",
}


TUNNEL = r"(?:wg|tun|tap|ppp|nordlynx|proton|mullvad)[\w-]*"
GUARDS_A_TUNNEL = re.compile(rf'(?:! -o {TUNNEL} .*-j (?:DROP|REJECT)|oifname != "{TUNNEL}".*(?:drop|reject))')


def owner_of_rule(facts: dict[str, str], table: Table | None = None) -> str:
    """The program that wrote the rule a step names in its facts (chain, table, rule, comment); "" where nobody can tell."""
    chain, text = facts.get("chain", ""), facts.get("rule", "")
    if chain in OWN_CHAINS:
        return f"{ADMINISTRATOR}, in {OWN_CHAINS[chain]}'s chain {chain}"
    if facts.get("line") == "0" and table is not None and facts.get("backend", "nft") != "nft":
        return _policy_setter(table, chain)
    by_name = owner_of_chain(chain, facts.get("table", ""))
    if by_name or facts.get("line") == "0":
        return by_name
    comment, sets = facts.get("comment", ""), re.findall(r"(?:@|--match-set )(\S+)", text)
    return (
        _first(lambda one: named(comment, one.comments))
        or _first(lambda one: any(named(name, one.sets) for name in sets))
        or _by_jump(text)
        or ("Docker" if _is_dockers(text) else KILL_SWITCH if GUARDS_A_TUNNEL.search(text) else UNKNOWN)
    )


def owner_of_translation(facts: dict[str, str], table: Table | None = None) -> str:
    """The same for a rule of a NAT chain, where an interface in the rule tells too ("! -o docker0 -j MASQUERADE")."""
    found = owner_of_rule(facts, table)
    devices = re.findall(r"(?:-[io]|[io]ifname(?: !=)?) \"?([^\s\"]+)", facts.get("rule", ""))
    return found or next((owner for owner in map(owner_of_device, devices) if owner), UNKNOWN)


def owner_of_chain(name: str, table: str = "") -> str:
    """The program that writes into chains of this name, "" for one that is the administrator's."""
    if name in OWN_CHAINS:
        return UNKNOWN
    return _first(lambda one: named(name, one.chains) or named(table, one.tables))


def owner_of_device(name: str) -> str:
    """The program whose naming an interface follows, or ""."""
    return _first(lambda one: bool(one.devices) and re.fullmatch(one.devices, name) is not None)


def named(name: str, names: tuple[str, ...]) -> bool:
    """True when the name is one of these, or begins like one that is a prefix."""
    return any(name == one or (one.endswith(("-", "_", " ", ":", "0")) and name.startswith(one)) for one in names)


def reverts(owner: str) -> str:
    """The sentence for a repair that its owner may undo."""
    if owner.startswith(ADMINISTRATOR):
        return ""
    if owner.startswith(KILL_SWITCH):
        return "the VPN's client writes its rules anew when it connects"
    return REVERTS.get(owner, f"{owner} may write it anew when it restarts or reloads" if owner else "")


def lasting_sysctl(key: str, value: str) -> str:
    dotted = key.replace("/", ".")
    return f"put `{dotted} = {value}` in a file under /etc/sysctl.d/; a file there or a network daemon may set it back"


def programs_in(tables: Iterable[Table]) -> tuple[str, ...]:
    """The programs whose chains or tables stand in this ruleset, each once."""
    found = (owner_of_chain(chain.name, table.name) for table in tables for chain in table.chains)
    return tuple(dict.fromkeys(name for name in found if name))


def _first(fits: Callable[[Program], bool]) -> str:
    return next((one.name for one in PROGRAMS if fits(one)), UNKNOWN)


def _policy_setter(table: Table, chain: str) -> str:
    there = programs_in((table,))
    setters = (name for name in POLICY_SETTERS if name in there and (name != "Docker" or chain == "FORWARD"))
    return next(setters, UNKNOWN)


def _by_jump(text: str) -> str:
    found = re.search(r"(?:-[jg]|jump|goto) (\S+)", text)
    return owner_of_chain(found[1]) if found else UNKNOWN


def _is_dockers(text: str) -> bool:
    """Docker's rules in built-in chains: a network without inter-container communication, "-i docker0 -o docker0 -j DROP",
    and since 28 no way to a container past its bridge, "-d 172.17.0.2/32 ! -i docker0 -j DROP"."""
    inside = re.search(r"-i (\S+) -o (\S+) -j DROP$", text)
    around = re.search(r"-d \S+ ! -i (\S+) -j DROP$", text)
    if inside is not None and inside[1] != inside[2]:
        return False
    found = inside or around
    return found is not None and owner_of_device(found[1]) == "Docker"
