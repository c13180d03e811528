"""Whose rule it is, by the names that programs give."""

import pytest

from netdoctor.checks.ownership import owner_of_device, owner_of_rule, owner_of_translation, reverts
from netdoctor.model.firewall import Chain, Table

OWNED = {
    "Docker": ("DOCKER", "filter", "-A DOCKER ! -i docker0 -o docker0 -j DROP"),
    "Docker since 28": ("DOCKER-FORWARD", "filter", "-A DOCKER-FORWARD -j DOCKER-CT"),
    "Docker, icc off": ("FORWARD", "filter", "-A FORWARD -i br-0123456789ab -o br-0123456789ab -j DROP"),
    "Docker, raw": ("PREROUTING", "raw", "-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP"),
    "Docker by jump": ("FORWARD", "filter", "-A FORWARD -j DOCKER-ISOLATION-STAGE-1"),
    "Podman": ("NETAVARK_FORWARD", "filter", "-A NETAVARK_FORWARD -s 10.88.0.0/16 -j ACCEPT"),
    "Podman, nftables": ("FORWARD", "netavark", "ct state invalid drop"),
    "kube-proxy": ("KUBE-SERVICES", "filter", "-A KUBE-SERVICES -d 10.96.0.50/32 -j REJECT"),
    "Calico": ("cali-fw-cali1234", "filter", "-A cali-fw-cali1234 -j DROP"),
    "Calico by set": ("FORWARD", "filter", "-A FORWARD -m set --match-set cali40this-host dst -j DROP"),
    "Cilium": ("CILIUM_FORWARD", "filter", "-A CILIUM_FORWARD -j DROP"),
    "flannel": ("FLANNEL-FWD", "filter", "-A FLANNEL-FWD -s 10.244.0.0/16 -j ACCEPT"),
    "a CNI plugin": ("CNI-FORWARD", "filter", "-A CNI-FORWARD -s 10.22.0.2/32 -j ACCEPT"),
    "libvirt": ("LIBVIRT_FWI", "filter", "-A LIBVIRT_FWI -o virbr0 -j REJECT"),
    "ufw": ("ufw-user-forward", "filter", "-A ufw-user-forward -j DROP"),
    "firewalld": ("filter_FWD_public", "firewalld", "reject with icmpx admin-prohibited"),
    "Tailscale": ("ts-forward", "filter", "-A ts-forward -s 100.64.0.0/10 -o tailscale0 -j DROP"),
    "fail2ban": ("f2b-sshd", "filter", "-A f2b-sshd -s 192.0.2.7/32 -j REJECT"),
    "fail2ban by set": ("INPUT", "filter", "-A INPUT -m set --match-set f2b-sshd src -j REJECT"),
    "LXC or Incus": ("fwd.incusbr0", "incus", "ip version 4 oifname incusbr0 accept"),
    "a VPN's kill switch (Mullvad)": ("forward", "mullvad", "reject"),
    "a VPN's kill switch (wg-quick)": ("preraw", "wg-quick-wg0", "drop"),
    "a VPN's kill switch": ("OUTPUT", "filter", "-A OUTPUT ! -o wg0 -m mark ! --mark 0xca6c -j REJECT"),
}


@pytest.mark.parametrize("owner", OWNED)
def test_a_programs_rule_is_known_by_its_names(owner: str) -> None:
    chain, table, rule = OWNED[owner]
    found = owner_of_rule({"chain": chain, "table": table, "rule": rule, "line": "3", "backend": "iptables-nft"})
    assert found == owner or found == owner.partition(",")[0] or (owner.startswith(found.partition(" (")[0]) and found)


@pytest.mark.parametrize(
    ("chain", "rule"),
    [
        ("FORWARD", "-A FORWARD -s 10.0.0.0/8 -j DROP"),
        ("FORWARD", "-A FORWARD -i docker0 -j DROP"),
        ("FORWARD", "-A FORWARD -i br-lan -o br-lan -j DROP"),
        ("FORWARD", "-A FORWARD -m set --match-set bad dst -j DROP"),
        ("mesh-forward", "-A mesh-forward -s 100.64.0.0/10 -j DROP"),
        ("tsunami", "-A tsunami -j DROP"),
    ],
)
def test_a_persons_rule_has_no_owner(chain: str, rule: str) -> None:
    assert (
        owner_of_rule({"chain": chain, "table": "filter", "rule": rule, "line": "1", "backend": "iptables-nft"}) == ""
    )


def test_what_is_in_docker_user_is_the_administrators() -> None:
    facts = {"chain": "DOCKER-USER", "table": "filter", "rule": "-A DOCKER-USER -j DROP", "line": "1"}
    assert owner_of_rule(facts) == "the administrator, in Docker's chain DOCKER-USER"
    assert not reverts(owner_of_rule(facts))


@pytest.mark.parametrize(
    ("chains", "policy_of", "owner"),
    [
        (("DOCKER", "DOCKER-USER"), "FORWARD", "Docker"),
        (("DOCKER", "DOCKER-USER"), "INPUT", ""),
        (("ufw-user-forward", "DOCKER"), "FORWARD", "ufw"),
        (("ufw-user-input",), "INPUT", "ufw"),
        (("LIBVIRT_FWI",), "FORWARD", ""),
    ],
)
def test_a_policys_owner_is_who_sets_policies(chains: tuple[str, ...], policy_of: str, owner: str) -> None:
    table = Table(
        backend="iptables-nft", family="ip", name="filter", chains=tuple(Chain(name=name, rules=()) for name in chains)
    )
    facts = {
        "chain": policy_of,
        "table": "filter",
        "rule": f"-P {policy_of} DROP",
        "line": "0",
        "backend": "iptables-nft",
    }
    assert owner_of_rule(facts, table) == owner


def test_a_translation_is_known_by_its_interface_too() -> None:
    rule = "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"
    assert owner_of_translation({"chain": "POSTROUTING", "table": "nat", "rule": rule, "line": "1"}) == "Docker"
    assert owner_of_device("virbr0") == "libvirt" and owner_of_device("br-lan") == "" == owner_of_device("eth0")
