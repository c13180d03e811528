"""/proc/sys/net of the calling thread's namespace: what the walk looks at; for a whole snapshot also what explains it."""

import os

from netdoctor.model.unknown import Unknown

IPV4_DEVICE_KEYS = (
    "forwarding", "rp_filter", "accept_local", "route_localnet", "arp_ignore", "arp_filter", "proxy_arp",
    "ignore_routes_with_linkdown", "src_valid_mark", "promote_secondaries",
    "send_redirects", "drop_unicast_in_l2_multicast", "bc_forwarding",
    "disable_policy", "disable_xfrm",
)  # fmt: skip
IPV6_DEVICE_KEYS = (
    "forwarding",
    "disable_ipv6",
    "accept_ra",
    "proxy_ndp",
    "ignore_routes_with_linkdown",
    "force_forwarding",
    "use_tempaddr",
    "use_oif_addrs_only",
    "use_optimistic",
    "drop_unicast_in_l2_multicast",
)
MORE_IPV4_DEVICE_KEYS = (
    "arp_announce", "proxy_arp_pvlan", "accept_redirects", "secure_redirects", "log_martians",
)  # fmt: skip
MORE_IPV6_DEVICE_KEYS = ("accept_dad", "autoconf", "accept_redirects")
MORE_NEIGHBOUR_KEYS = ("ucast_solicit", "app_solicit", "proxy_qlen")
GLOBAL_KEYS = (
    "net/ipv4/ip_forward", "net/ipv4/ip_default_ttl", "net/ipv4/icmp_echo_ignore_all", "net/ipv6/icmp/echo_ignore_all",
    "net/ipv4/fib_multipath_use_neigh", "net/ipv4/ip_local_port_range", "net/ipv4/ip_local_reserved_ports",
    "net/ipv4/tcp_ecn", "net/ipv4/ip_forward_update_priority",
    "net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables", "net/bridge/bridge-nf-call-arptables",
    "net/netfilter/nf_conntrack_udp_timeout", "net/netfilter/nf_conntrack_icmp_timeout",
    "net/netfilter/nf_conntrack_icmpv6_timeout", "net/netfilter/nf_conntrack_tcp_timeout_syn_sent",
    "net/netfilter/nf_conntrack_tcp_loose",
)  # fmt: skip
MORE_GLOBAL_KEYS = (
    "net/ipv4/ip_nonlocal_bind", "net/ipv4/tcp_mtu_probing", "net/ipv4/ip_no_pmtu_disc", "net/ipv4/fwmark_reflect",
    "net/ipv4/ping_group_range", "net/ipv6/bindv6only", "net/ipv4/tcp_fwmark_accept",
    "net/ipv4/icmp_ratelimit", "net/ipv4/fib_multipath_hash_policy", "net/ipv4/ip_unprivileged_port_start",
    "net/netfilter/nf_conntrack_udp_timeout_stream",
    "net/netfilter/nf_conntrack_generic_timeout", "net/netfilter/nf_conntrack_tcp_timeout_syn_recv",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_conntrack_tcp_be_liberal", "net/netfilter/nf_conntrack_max",
)  # fmt: skip
SHARED_DEVICES = ("all", "default")
READ_BYTES = 65536


def read_global() -> dict[str, str | Unknown]:
    """Keys that stand once a namespace, and the "all" of the per-device ones. Absent keys are left out."""
    return {**_read(GLOBAL_KEYS), **read_device("all")}


def read_device(device: str) -> dict[str, str | Unknown]:
    """One device's keys ("all" and "default" are devices too)."""
    keys = [f"net/ipv4/conf/{device}/{key}" for key in IPV4_DEVICE_KEYS]
    keys += [f"net/ipv6/conf/{device}/{key}" for key in IPV6_DEVICE_KEYS]
    if device not in SHARED_DEVICES:
        keys += [f"net/ipv4/neigh/{device}/{key}" for key in ("mcast_solicit", "proxy_delay")]
        keys.append(f"net/ipv6/neigh/{device}/mcast_solicit")
    return _read(keys)


def read_more(devices: tuple[str, ...]) -> dict[str, str | Unknown]:
    """What a whole snapshot holds besides: keys that the walk does not need and a reader of it may."""
    keys = list(MORE_GLOBAL_KEYS)
    for device in (*SHARED_DEVICES, *devices):
        keys += [f"net/ipv4/conf/{device}/{key}" for key in MORE_IPV4_DEVICE_KEYS]
        keys += [f"net/ipv6/conf/{device}/{key}" for key in MORE_IPV6_DEVICE_KEYS]
        if device not in SHARED_DEVICES:
            keys += [f"net/ipv4/neigh/{device}/{key}" for key in MORE_NEIGHBOUR_KEYS]
    return {**_read(keys), **read_device("default")}


def _read(keys: list[str] | tuple[str, ...]) -> dict[str, str | Unknown]:
    found: dict[str, str | Unknown] = {}
    for key in keys:
        try:
            fd = os.open(f"/proc/sys/{key}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        except OSError as error:
            found[key] = Unknown(f"/proc/sys/{key}: {error.strerror}")
            continue
        try:
            found[key] = " ".join(os.read(fd, READ_BYTES).decode().split())
        except OSError as error:
            found[key] = Unknown(f"/proc/sys/{key}: {error.strerror}")
        finally:
            os.close(fd)
    return found
