"""The two ends of a flow: a free local port to ask from, and somebody who listens."""

from netdoctor.model.journey import Because
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.addressing import is_loopback
from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, Packet
from netdoctor.walk.routing import address_type
from netdoctor.walk.trail import Trail
from netdoctor.walk.view import View

NAMES = {TCP: "tcp", UDP: "udp"}
FEW_PORTS = 512


def check_local_port(view: View, trail: Trail, key: NamespaceId, packet: Packet, *, asking: bool) -> None:
    """inet_csk_get_port, __inet_hash_connect: an ephemeral port must be left. Raises Dead when none is."""
    if not asking or packet.protocol not in NAMES:
        return
    low, high = (int(word) for word in view.sysctl(key, "net/ipv4/ip_local_port_range", "32768 60999").split()[:2])
    reserved = _ranges(view.sysctl(key, "net/ipv4/ip_local_reserved_ports", ""))
    if high - low >= FEW_PORTS and not reserved:
        return
    free = {port for port in range(low, high + 1) if not any(first <= port <= last for first, last in reserved)}
    if len(free) >= FEW_PORTS:
        return
    used = {one.port for one in view.sockets(key) if one.protocol == NAMES[packet.protocol]} if free else set()
    if free - used:
        return
    by_reservation = not free
    path = "net/ipv4/ip_local_reserved_ports" if by_reservation else "net/ipv4/ip_local_port_range"
    value = view.sysctl(key, path, "")
    why = "all of them are reserved" if by_reservation else f"all {len(free)} of them are in use"
    trail.dies(
        trail.step(
            "local-port",
            key,
            "block",
            f"{view.name(key)} has no free local port: of {low}-{high} {why}",
            Because(kind="sysctl", namespace=key, text=f"{path.replace('/', '.')} = {value}"),
            cause="local-ports-reserved" if by_reservation else "local-ports-exhausted",
            facts={"sysctl": path, "value": value, "wanted": "" if by_reservation else "32768 60999"},
        )  # fmt: skip
    )


def _ranges(text: str) -> list[tuple[int, int]]:
    """ "40000-40001,50000" -> [(40000, 40001), (50000, 50000)]."""
    found = []
    for part in text.replace(",", " ").split():
        first, _, last = part.partition("-")
        found.append((int(first), int(last or first)))
    return found


def check_listener(view: View, trail: Trail, key: NamespaceId, packet: Packet, *, asked: bool) -> None:
    """Somebody must take the packet: the kernel for echo, a socket for TCP and UDP. Raises Dead."""
    if packet.protocol in (ICMP, ICMP6):
        _check_answerable(view, trail, key, packet)
        path = "net/ipv4/icmp_echo_ignore_all" if packet.protocol == ICMP else "net/ipv6/icmp/echo_ignore_all"
        if packet.icmp_type in (8, 128) and view.number(key, path):
            trail.dies(
                trail.step(
                    "deliver",
                    key,
                    "block",
                    f"{view.name(key)} does not answer pings: {path.replace('/', '.')} is 1",
                    Because(kind="sysctl", namespace=key, text=f"{path.replace('/', '.')} = 1"),
                    packet=str(packet),
                    cause="echo-ignored",
                    facts={"sysctl": path, "wanted": "0", "address": packet.destination},
                )  # fmt: skip
            )
        return
    name = NAMES.get(packet.protocol)
    if name is None or not asked:
        return
    wanted = "listen" if name == "tcp" else ""
    ports = [
        one
        for one in view.sockets(key)
        if one.protocol == name
        and one.port == packet.destination_port
        and (one.state == wanted or (not wanted and not one.remote))
    ]
    if any(takes(one.address, one.v6_only, packet) for one in ports):
        return
    elsewhere = ", ".join(sorted({one.address for one in ports}))
    text = f"nothing in {view.name(key)} listens on {packet.destination} port {packet.destination_port}/{name}"
    trail.dies(
        trail.step(
            "deliver",
            key,
            "block",
            text + (f": only on {elsewhere}" if elsewhere else ""),
            Because(
                kind="socket", namespace=key, text=f"{name} port {packet.destination_port}: {elsewhere or 'no socket'}"
            ),
            packet=str(packet),
            cause="service-on-other-address" if elsewhere else "service-not-listening",
            facts={
                "address": packet.destination,
                "port": str(packet.destination_port),
                "protocol": name,
                "elsewhere": elsewhere,
                "loopback": "1" if is_loopback(packet.destination) else "",
            },
        )  # fmt: skip
    )


def _check_answerable(view: View, trail: Trail, key: NamespaceId, packet: Packet) -> None:
    """icmp_reply: an echo is answered from the address it came to, and only an address of table local may be a source.

    A `local` route of another table (TPROXY recipes) brings the packet in and leaves it unanswered (__ip_dev_find).
    """
    address = packet.destination
    if packet.icmp_type != 8 or packet.protocol != ICMP or view.local_addresses(key, address):
        return
    if address_type(view, key, address) != "local":
        trail.dies(
            trail.step(
                "route",
                key,
                "block",
                f"{view.name(key)} keeps {address} for itself and may not answer from it",
                packet=str(packet),
                cause="local-route-captures",
                facts={"destination": address, "mark": str(packet.mark)},
            )  # fmt: skip
        )


def takes(bound: str, v6_only: bool, packet: Packet) -> bool:
    """Whether a socket bound to the address takes packets to this destination."""
    if bound in (packet.destination, f"::ffff:{packet.destination}"):
        return True
    if packet.family == 4:
        return bound == "0.0.0.0" or (bound == "::" and not v6_only)
    return bound == "::"
