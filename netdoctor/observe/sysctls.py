"""/proc/sys/net of the calling thread's namespace: only the keys the walk looks at."""

from netdoctor.model.unknown import Unknown

IPV4_DEVICE_KEYS = (
    "forwarding", "rp_filter", "accept_local", "route_localnet", "arp_ignore", "arp_filter", "arp_announce",
    "proxy_arp", "proxy_arp_pvlan", "ignore_routes_with_linkdown", "src_valid_mark", "promote_secondaries",
    "accept_redirects", "secure_redirects", "disable_policy", "disable_xfrm", "drop_unicast_in_l2_multicast",
)  # fmt: skip
IPV6_DEVICE_KEYS = (
    "forwarding",
    "disable_ipv6",
    "accept_ra",
    "proxy_ndp",
    "accept_dad",
    "ignore_routes_with_linkdown",
    "force_forwarding",
)
NEIGHBOUR_KEYS = ("mcast_solicit", "ucast_solicit", "app_solicit", "proxy_delay", "proxy_qlen")
GLOBAL_KEYS = (
    "net/ipv4/ip_forward", "net/ipv4/ip_default_ttl", "net/ipv4/icmp_echo_ignore_all", "net/ipv6/icmp/echo_ignore_all",
    "net/ipv4/ip_local_port_range", "net/ipv4/ip_local_reserved_ports", "net/ipv4/ip_nonlocal_bind",
    "net/ipv4/tcp_mtu_probing", "net/ipv4/ip_no_pmtu_disc", "net/ipv4/fwmark_reflect", "net/ipv4/tcp_ecn",
    "net/ipv4/tcp_l3mdev_accept", "net/ipv4/ping_group_range", "net/ipv6/bindv6only", "net/ipv4/tcp_fwmark_accept",
    "net/ipv4/icmp_ratelimit", "net/ipv4/fib_multipath_hash_policy", "net/ipv4/ip_unprivileged_port_start",
    "net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables", "net/bridge/bridge-nf-call-arptables",
    "net/netfilter/nf_conntrack_udp_timeout", "net/netfilter/nf_conntrack_udp_timeout_stream",
    "net/netfilter/nf_conntrack_icmp_timeout", "net/netfilter/nf_conntrack_icmpv6_timeout",
    "net/netfilter/nf_conntrack_generic_timeout", "net/netfilter/nf_conntrack_tcp_timeout_syn_sent",
    "net/netfilter/nf_conntrack_tcp_timeout_syn_recv", "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_conntrack_tcp_loose", "net/netfilter/nf_conntrack_tcp_be_liberal",
)  # fmt: skip


def read_global() -> dict[str, str | Unknown]:
    """Keys that stand once a namespace, and the "all" of the per-device ones. Absent keys are left out."""
    return {**_read(GLOBAL_KEYS), **read_device("all")}


def read_device(device: str) -> dict[str, str | Unknown]:
    """One device's keys ("all" and "default" are devices too)."""
    keys = [f"net/ipv4/conf/{device}/{key}" for key in IPV4_DEVICE_KEYS]
    keys += [f"net/ipv6/conf/{device}/{key}" for key in IPV6_DEVICE_KEYS]
    if device not in ("all", "default"):
        keys += [f"net/{ip}/neigh/{device}/{key}" for ip in ("ipv4", "ipv6") for key in NEIGHBOUR_KEYS[:2]]
        keys += [f"net/ipv4/neigh/{device}/{key}" for key in NEIGHBOUR_KEYS[2:]]
    return _read(keys)


def _read(keys: list[str] | tuple[str, ...]) -> dict[str, str | Unknown]:
    found: dict[str, str | Unknown] = {}
    for key in keys:
        try:
            with open(f"/proc/sys/{key}", "rb", buffering=0) as file:
                found[key] = " ".join(file.read(65536).decode().split())
        except FileNotFoundError:
            continue
        except OSError as error:
            found[key] = Unknown(f"/proc/sys/{key}: {error.strerror}")
    return found
