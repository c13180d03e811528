"""Worlds whose firewall is a ruleset that the real program wrote (data/, see README.md), replayed by its own tools."""

from dataclasses import replace
from pathlib import Path

from lab.topology import FORWARDING, UPLINK, Topology

DATA = Path(__file__).resolve().parent / "data"
RESTORE = {"iptables": "iptables-nft-restore", "legacy": "iptables-legacy-restore", "nft": "nft -f"}
APP, BACK = "br-2f5c1a9e7b31", "br-8d04e6b3c9f2"


def replayed(*files: str, then: str = "") -> str:
    """Shell that loads the stored rulesets, in this order."""
    lines = []
    for file in files:
        name, _, kind = file.partition(":")
        tool = RESTORE[kind or name.rpartition(".")[2]]
        lines.append(f"{tool} {DATA / name}")
    return "\n".join([*lines, then])


DOCKER = Topology(
    title="Docker: docker0 with web (8080 -> 80), a user network with app1 (8443 -> 443), an internal network with db",
    roles=("host", "ns1", "ns2", "ns3", "inet"),
    cables=("host:veth1a ns1:eth0", "host:veth2a ns2:eth0", "host:veth3a ns3:eth0", "host:wlp1s0 inet:up0"),
    bridges=("host docker0 veth1a", f"host {APP} veth2a", f"host {BACK} veth3a"),
    addresses=(
        *("host docker0 172.17.0.1/16", f"host {APP} 172.18.0.1/16", f"host {BACK} 172.19.0.1/16"),
        *("ns1 eth0 172.17.0.2/16", "ns2 eth0 172.18.0.2/16", "ns3 eth0 172.19.0.2/16", *UPLINK),
    ),
    routes=(
        *("ns1 default via 172.17.0.1", "ns2 default via 172.18.0.1", "ns3 default via 172.19.0.1"),
        "host default via 192.168.0.1",
    ),
    sysctls=FORWARDING,
    setup=replayed("docker-nft.iptables"),
    services=("inet 8.8.8.8 192.168.0.1", "ns1 0.0.0.0", "ns2 0.0.0.0@53@443"),
    healthy=("ping 8.8.8.8", "tcp 8.8.8.8:80", "inet: tcp 192.168.0.147:8080", "inet: tcp 192.168.0.147:8443", "ns2: ping 8.8.8.8"),
)  # fmt: skip

VETH = Topology(
    title="A hand-made container network",
    roles=("host", "ns1", "inet"),
    cables=("host:veth0 ns1:veth1", "host:wlp1s0 inet:up0"),
    addresses=("host veth0 10.0.0.1/24", "ns1 veth1 10.0.0.2/24", *UPLINK),
    routes=("ns1 default via 10.0.0.1", "host default via 192.168.0.1"),
    sysctls=FORWARDING,
    services=("inet 8.8.8.8 192.168.0.1",),
    healthy=("ping 8.8.8.8", "tcp 8.8.8.8:80"),
)
MASQUERADE = "iptables-nft -t nat -A POSTROUTING -s 10.0.0.0/24 -o wlp1s0 -j MASQUERADE"


def bridged(title: str, bridge: str, subnet: str, *, bits: int, setup: str, published: int = 0) -> Topology:
    """One container, .2 of `subnet` ("10.88.0"), on a bridge of the host."""
    return Topology(
        title=title,
        roles=("host", "ns1", "inet"),
        cables=("host:vethaa1 ns1:eth0", "host:wlp1s0 inet:up0"),
        bridges=(f"host {bridge} vethaa1",),
        addresses=(f"host {bridge} {subnet}.1/{bits}", f"ns1 eth0 {subnet}.2/{bits}", *UPLINK),
        routes=(f"ns1 default via {subnet}.1", "host default via 192.168.0.1"),
        sysctls=FORWARDING,
        setup=setup,
        services=("inet 8.8.8.8 192.168.0.1", "ns1 0.0.0.0"),
        healthy=("ping 8.8.8.8", "tcp 8.8.8.8:80", *([f"inet: tcp 192.168.0.147:{published}"] if published else [])),
    )


PODMAN_NFT = bridged(
    "Podman, netavark's nftables driver", "podman0", "10.88.0", bits=16, setup=replayed("netavark.nft"), published=8080
)
KUBE = replace(
    DOCKER,
    title="kube-proxy: two pods on cni0, a service with an endpoint (10.96.0.80) and one without (10.96.0.50)",
    roles=("host", "ns1", "ns2", "inet"),
    cables=("host:veth1a ns1:eth0", "host:veth2a ns2:eth0", "host:wlp1s0 inet:up0"),
    bridges=("host cni0 veth1a veth2a",),
    addresses=("host cni0 10.244.0.1/24", "ns1 eth0 10.244.0.2/24", "ns2 eth0 10.244.0.3/24", *UPLINK),
    routes=("ns1 default via 10.244.0.1", "ns2 default via 10.244.0.1", "host default via 192.168.0.1"),
    sysctls=("host net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1",),
    setup=replayed("kube-proxy.iptables"),
    services=("inet 8.8.8.8", "ns2 0.0.0.0"),
    healthy=("ping 8.8.8.8", "tcp 10.96.0.80:80", "tcp 10.244.0.3:80"),
)
TAILSCALE = replace(
    VETH,
    title="tailscaled's chains beside a hand-made network; tailscale0 leads to a peer",
    roles=("host", "ns1", "inet", "peer"),
    cables=(*VETH.cables, "host:tailscale0 peer:ts0"),
    addresses=(*VETH.addresses, "host tailscale0 100.101.102.103/32", "peer ts0 100.77.0.9/32"),
    routes=(*VETH.routes, "host 100.77.0.9 dev tailscale0", "peer 0.0.0.0/0 dev ts0"),
    setup=replayed("tailscale.iptables", then=f"{MASQUERADE}\n{MASQUERADE.replace('wlp1s0', 'tailscale0')}"),
    healthy=("ping 8.8.8.8", "ping 100.77.0.9"),
)

WORLDS = {
    "docker": DOCKER,
    "docker-legacy": replace(DOCKER, setup=replayed("docker-legacy.iptables:legacy")),
    "docker28": replace(DOCKER, setup=replayed("docker28.iptables")),
    "docker-firewalld": replace(DOCKER, setup=replayed("firewalld-docker.nft", "firewalld-docker.iptables")),
    "docker-firewalld2": replace(DOCKER, setup=replayed("firewalld2-docker28.nft", "docker28.iptables")),
    "docker-ufw": replace(DOCKER, setup=replayed("ufw-docker.iptables")),
    "ufw": replace(VETH, setup=replayed("ufw.iptables", then=MASQUERADE)),
    "firewalld": replace(VETH, setup=replayed("firewalld-zones.nft")),
    "podman": bridged("Podman, netavark's iptables driver", "podman0", "10.88.0", bits=16, setup=replayed("podman.iptables"), published=8080),
    "podman-nft": replace(
        PODMAN_NFT,
        bridges=(*PODMAN_NFT.bridges, "host podman1"),
        addresses=(*PODMAN_NFT.addresses, "host podman1 10.89.0.1/24"),
    ),
    "libvirt": bridged("libvirt's network default", "virbr0", "192.168.122", bits=24, setup=replayed("libvirt.iptables")),
    "cni": bridged("CNI bridge, portmap and firewall plugins", "cni0", "10.22.0", bits=16, setup=replayed("cni.iptables"), published=8080),
    "lxc": bridged("lxc-net", "lxcbr0", "10.0.3", bits=24, setup=replayed("lxc.nft")),
    "fail2ban": replace(VETH, setup=replayed("fail2ban.iptables", then=MASQUERADE)),
    "fail2ban-nft": replace(VETH, setup=replayed("fail2ban.nft", then=f"nft delete element inet f2b-table addr-set-web {{ 10.0.0.2 }}; {MASQUERADE}")),
    "kube": KUBE,
    "tailscale": TAILSCALE,
    "mullvad": replace(VETH, setup=MASQUERADE),
}  # fmt: skip
