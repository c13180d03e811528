"""How an edit of a firewall outlives the next reload, and what to do where no edit is right: the exact commands."""

import re
from typing import Final

from netdoctor.checks import ground
from netdoctor.checks.ownership import KILL_SWITCH
from netdoctor.checks.passage import is_internal, is_locked, zone_of
from netdoctor.model.change import ChainRef, Change, DeleteRule, InsertRule, ReplaceRule
from netdoctor.model.journey import Step
from netdoctor.model.snapshot import Snapshot

BOOT: Final = "a reboot loses it: `netfilter-persistent save` (iptables-persistent, /etc/iptables/rules.v{version})"


RESTART: Final = {
    "Docker": "`systemctl restart docker` writes Docker's own rules anew; then take this one away again",
    "Podman (netavark)": "`podman network reload --all` writes netavark's rules anew; then take this one away again",
    "libvirt": "`virsh net-destroy NETWORK` and `virsh net-start NETWORK` write libvirt's rules anew (guests must be plugged in again)",
    "LXC or Incus": "`systemctl restart lxc-net` (or restart incus) writes its table anew; then take this rule away again",
    "a CNI plugin": "the plugins write their rules when a pod starts: recreate the pod, or look what removes them",
    "kube-proxy": "kube-proxy writes its rules anew by itself: look why it does not (its log)",
    "firewalld": "`firewall-cmd --permanent --zone=ZONE --add-masquerade` for the uplink's zone, then `firewall-cmd --reload`",
    "ufw": "put the rule into the *nat part of /etc/ufw/before.rules, then `ufw reload`",
}


def lasting(step: Step, snapshot: Snapshot, changes: tuple[Change, ...], owner: str) -> str:
    """What makes the edit last: the owner's own command where it has one, else the file that loads the ruleset."""
    edit = next((one for one in changes if isinstance(one, InsertRule | DeleteRule | ReplaceRule)), None)
    if edit is None:
        return ""
    if owner == "fail2ban":
        return _unban(step)
    at, chain = edit.at, edit.at.chain
    if chain.startswith(("ufw-", "ufw6-")):
        return f"`{_ufw(step.facts, chain, edit)}` writes the same rule and keeps it in /etc/ufw/user.rules"
    if at.table == "firewalld":
        return _firewalld(step, snapshot, at)
    version = 6 if at.family == "ip6" else 4
    own = _owners_form(owner, step.facts)
    if chain == "DOCKER-USER":
        kept = f"Docker leaves DOCKER-USER alone, {BOOT.format(version=version)}"
        return f"{own}; else: {kept}" if own and step.facts.get("line") != "0" else kept
    return own or by_file(at, deleted=isinstance(edit, DeleteRule))


def by_file(at: ChainRef, *, deleted: bool = False) -> str:
    """The file that loads a hand-made ruleset."""
    if at.backend == "nft":
        what = "take the rule out of" if deleted else "write the rule into"
        return f"{what} table {at.family} {at.table} in /etc/nftables.conf (nftables.service) or whatever loads it"
    version = 6 if at.family == "ip6" else 4
    saved = BOOT.format(version=version)
    return (
        f"whatever wrote the rule may write it again; {saved.replace('loses it', 'loads the saved rules')}"
        if deleted
        else saved
    )


def _ufw(facts: dict[str, str], chain: str, edit: InsertRule | DeleteRule | ReplaceRule) -> str:
    """The command that ufw takes for the rule: "ufw route allow in on veth0 out on wlp1s0"."""
    ways = {"forward": "ufw route ", "input": "ufw ", "output": "ufw "}
    first = "insert 1 " if facts.get("chain") == chain and isinstance(edit, InsertRule) and edit.line else ""
    sides = [f"in on {facts['in_device']}"] if facts.get("in_device") and facts["hook"] != "output" else []
    sides += [f"out on {facts['out_device']}"] if facts.get("out_device") and facts["hook"] != "input" else []
    return f"{ways.get(facts['hook'], 'ufw ')}{first}allow {' '.join(sides)}"


def of_translation(at: ChainRef, owner: str) -> str:
    """What makes an edit of a NAT chain last."""
    return RESTART.get(owner, "") or by_file(at)


def _unban(step: Step) -> str:
    jail = re.sub(r"^(?:f2b-|fail2ban-|addr6?-set-)", "", step.facts.get("chain", ""))
    found = re.search(r"@addr6?-set-(\S+)", step.facts.get("rule", ""))
    jail = found[1] if found else jail
    return (
        f"`fail2ban-client set {jail} unbanip {step.facts['source']}` tells fail2ban too; "
        f"`ignoreip = {step.facts['source']}` in /etc/fail2ban/jail.local keeps it from coming back"
    )


def _firewalld(step: Step, snapshot: Snapshot, at: ChainRef) -> str:
    table = ground.find_table(snapshot, step.namespace, at)
    facts = step.facts
    entry = zone_of(table, facts["hook"], facts.get("in_device", "")) or "ZONE"
    if facts["hook"] == "input":
        family = "ipv6" if facts.get("packet_family") == "6" else "ipv4"
        rule = f"rule family={family} source address={ground.subnet_of(snapshot, facts['source'])} accept"
        return f"`firewall-cmd --permanent --zone={entry} --add-rich-rule='{rule}'`, then `firewall-cmd --reload`"
    leave = zone_of(table, "forward", facts.get("out_device", "")) or "ZONE"
    if entry == leave:
        return f"`firewall-cmd --permanent --zone={entry} --add-forward`, then `firewall-cmd --reload`"
    name = f"{entry}-{leave}"[:17]
    return (
        f"`firewall-cmd --permanent --new-policy {name}`, `firewall-cmd --permanent --policy {name} --add-ingress-zone {entry} "
        f"--add-egress-zone {leave} --set-target ACCEPT`, then `firewall-cmd --reload`; an interface that lost its zone: "
        f"`firewall-cmd --permanent --zone=ZONE --change-interface={facts.get('in_device') or 'DEVICE'}`"
    )


def _owners_form(owner: str, facts: dict[str, str]) -> str:
    """How the program that stops the traffic is told to let it through."""
    if owner == "Docker" and facts.get("line") == "0":
        return RESTART[owner]
    if owner == "Docker" and facts.get("in_device") == facts.get("out_device"):
        return 'create the network with `-o com.docker.network.bridge.enable_icc=true` (for docker0: "icc": true in daemon.json)'
    if owner == "Docker" and facts.get("table") == "raw":
        return "publish the port, or create the network with `-o com.docker.network.bridge.gateway_mode_ipv4=nat-unprotected`"
    if owner == "Docker" and "ISOLATION" in facts.get("chain", ""):
        return "put both containers on one network: `docker network connect NETWORK CONTAINER`"
    if owner == "libvirt":
        return "run the command from /etc/libvirt/hooks/network (when the network has started), or define the network with <forward mode='route'/>"
    return ""


def advice(step: Step, snapshot: Snapshot, owner: str) -> tuple[str, ...]:
    """What a person can do where the rule is right and the traffic, or what the rule stands for, is wrong."""
    facts = step.facts
    if is_locked(step, snapshot):
        at = ground.chain_ref(facts)
        told = _firewalld(step, snapshot, at) if owner == "firewalld" else "tell it to let the traffic through"
        return (
            f"only {owner or 'the program that made it'} may change table {at.family} {at.table} (flags owner): {told}",
        )
    if owner == "kube-proxy":
        found = re.search(r"([\w.-]+)/([\w.-]+?)(?::[\w-]+)? has no endpoints", facts.get("rule", ""))
        where = (
            f"-n {found[1]} get endpointslices -l kubernetes.io/service-name={found[2]}"
            if found
            else "get endpointslices -A"
        )
        return (f"the service has no ready pod behind it: see `kubectl {where}`, and start or mend its pods",)
    if is_internal(facts):
        return (
            "the network was created with --internal, so its containers are kept in: `docker network connect NETWORK CONTAINER` "
            "gives the container a way out beside it",
        )
    if owner in ("Calico", "Cilium"):
        return (
            "a network policy forbids it: `kubectl get networkpolicies -A`; allow the traffic there, not by a rule on the host",
        )
    if owner == "Tailscale":
        return (
            "100.64.0.0/10 belongs to the tailnet: give the container network another range, or the device that sends it a route "
            "that the tailnet approves (`tailscale set --advertise-routes=SUBNET`)",
        )
    if owner.startswith(KILL_SWITCH):
        return (
            "it keeps traffic from leaving beside the VPN: connect the VPN again, or allow this traffic in its own settings "
            "(`mullvad lan set allow`, split tunnelling, AllowedIPs)",
        )
    return ()
