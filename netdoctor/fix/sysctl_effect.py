"""What writing a sysctl changes beside the value itself. Pure.

Sources: net/ipv4/devinet.c inet_forward_change, net/ipv6/addrconf.c addrconf_fixup_forwarding,
addrconf_disable_ipv6.
"""

from collections.abc import Iterator

from netdoctor.model.network import Route
from netdoctor.model.snapshot import Namespace

from .addressing import v6_lost, v6_regained
from .seen import device_name, known, link_named, replace, sysctl, with_routes

IP_FORWARD = "net/ipv4/ip_forward"
FORWARD_ALL_4 = "net/ipv4/conf/all/forwarding"
FORWARD_ALL_6 = "net/ipv6/conf/all/forwarding"


def written(namespace: Namespace, key: str, value: str) -> Namespace:
    """The namespace after `key` took `value`."""
    before = sysctl(namespace, key)
    after = _with(namespace, {key: value})
    if key in (IP_FORWARD, FORWARD_ALL_4):
        return _forwarding_4(after, value, changed=before != value)
    if key == FORWARD_ALL_6:
        return _forwarding_6(after, value, changed=before != value)
    if key.startswith("net/ipv6/conf/") and key.endswith("/disable_ipv6"):
        return _disable_ipv6(after, key.split("/")[3], value)
    return after


def derived(key: str) -> str:
    """A glob under /proc/sys of the keys that writing `key` may change; empty when it stands alone."""
    if key in (IP_FORWARD, FORWARD_ALL_4):
        return "net/ipv4/conf/*/forwarding"
    if key == FORWARD_ALL_6:
        return "net/ipv6/conf/*/forwarding"
    return "net/ipv6/conf/*/disable_ipv6" if key == "net/ipv6/conf/all/disable_ipv6" else ""


def _with(namespace: Namespace, values: dict[str, str]) -> Namespace:
    return replace(namespace, sysctls={**namespace.sysctls, **values})


def _per_device(namespace: Namespace, family: str, name: str) -> Iterator[str]:
    head, tail = f"net/{family}/conf/", f"/{name}"
    return (key for key in namespace.sysctls if key.startswith(head) and key.endswith(tail))


def _forwarding_4(namespace: Namespace, value: str, *, changed: bool) -> Namespace:
    """ip_forward and conf/all/forwarding are one variable; only a real change spreads to the interfaces."""
    values = {key: value for key in (IP_FORWARD, FORWARD_ALL_4) if key in namespace.sysctls}
    if changed:
        values |= dict.fromkeys(_per_device(namespace, "ipv4", "forwarding"), value)
        if "net/ipv4/conf/all/accept_redirects" in namespace.sysctls:
            values["net/ipv4/conf/all/accept_redirects"] = "0" if value != "0" else "1"
    return _with(namespace, values)


def _forwarding_6(namespace: Namespace, value: str, *, changed: bool) -> Namespace:
    """Turning it on also drops the default routes learned from router advertisements, save where accept_ra is 2."""
    after = (
        _with(namespace, dict.fromkeys(_per_device(namespace, "ipv6", "forwarding"), value)) if changed else namespace
    )
    if value == "0" or not changed:
        return after

    def purged(route: Route) -> bool:
        if route.protocol != "ra" or route.destination != "::/0":
            return False
        devices = [device_name(namespace, hop.index) for hop in route.next_hops]
        return not any(sysctl(namespace, f"net/ipv6/conf/{device}/accept_ra") == "2" for device in devices)

    return with_routes(after, (route for route in known(after.routes) if not purged(route)))


def _disable_ipv6(namespace: Namespace, device: str, value: str) -> Namespace:
    if device == "default":
        return namespace
    devices = [link.name for link in known(namespace.links)] if device == "all" else [device]
    if device == "all":
        keys = _per_device(namespace, "ipv6", "disable_ipv6")
        namespace = _with(namespace, dict.fromkeys(keys, value))
    for name in devices:
        link = link_named(namespace, name)
        if link:
            namespace = v6_lost(namespace, link) if value != "0" else v6_regained(namespace, link)
    return namespace
