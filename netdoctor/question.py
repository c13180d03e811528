"""What is asked, as typed -> a Question and the flow that answers it. Pure."""

import ipaddress

from netdoctor.errors import NetdoctorError
from netdoctor.model.diagnosis import Question
from netdoctor.model.journey import Flow, Protocol
from netdoctor.model.snapshot import NamespaceId

LARGE_BYTES = 1500
IPV6_LONGER_BY = 20


def parse(target: str, dest: str, port: str) -> Question:
    """Checks the words. Raises NetdoctorError naming what is wrong with them."""
    if not dest.startswith("ns:") and not is_address(dest) and (not _is_name(dest) or _numeric(dest)):
        raise NetdoctorError(f"--to {dest!r}: expected an IPv4 or IPv6 address, a DNS name, or ns:NAME")
    if is_address(dest):
        _one_host(dest)
    parse_port(port)
    return Question(target=target, dest=dest, port=port)


def _is_name(text: str) -> bool:
    """A DNS name: dot-separated labels of letters, digits, hyphens and underscores (RFC 1035 2.3.4 lengths)."""
    labels = text.removesuffix(".").split(".")
    return 0 < len(text) < 255 and all(
        0 < len(label) < 64
        and label.replace("-", "a").replace("_", "a").isalnum()
        and label.isascii()
        and not label.startswith("-")
        and not label.endswith("-")
        for label in labels
    )


def _one_host(dest: str) -> None:
    """Raises NetdoctorError for an address that is not one host's."""
    address = ipaddress.ip_address(dest)
    if address.is_multicast or address.is_unspecified or str(address) == "255.255.255.255":
        raise NetdoctorError(f"--to {dest}: expected the address of one host, not of many or none")
    if "%" in dest:
        raise NetdoctorError(f"--to {dest!r}: ask without the zone; the namespace's routes choose the interface")


def _numeric(text: str) -> bool:
    """Digits and dots that are no address: a mistyped address, not a name."""
    return all(char.isdigit() or char == "." for char in text)


def parse_port(port: str) -> tuple[Protocol, int]:
    """ "80/tcp" -> ("tcp", 80); "" -> ("icmp", 0). Raises NetdoctorError."""
    if not port:
        return "icmp", 0
    number, _, name = port.partition("/")
    if (
        not (number.isascii() and number.isdigit() and len(number) < 6)
        or not 1 <= int(number) <= 65535
        or name not in ("tcp", "udp")
    ):
        raise NetdoctorError(
            f"--port {port!r}: expected a number from 1 to 65535 and its protocol, as in 80/tcp or 53/udp"
        )
    return ("tcp" if name == "tcp" else "udp"), int(number)


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def canonical(text: str) -> str:
    """The address as the kernel prints it; an IPv4-mapped one is IPv4 on the wire."""
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if address.version == 6 else None
    return str(mapped or address)


def flow(question: Question, namespace: NamespaceId, address: str) -> Flow:
    """The flow the question is about, to an address of its destination."""
    protocol, port = parse_port(question.port)
    return Flow(
        namespace=namespace,
        family=6 if ":" in address else 4,
        destination=canonical(address),
        protocol=protocol,
        port=port,
        length_bytes=(60 if protocol == "tcp" else 84) + (IPV6_LONGER_BY if ":" in address else 0),
    )


def large(one: Flow, mtu_bytes: int) -> Flow:
    """The same flow with full-size segments."""
    return Flow(
        namespace=one.namespace, family=one.family, destination=one.destination, protocol=one.protocol, port=one.port,
        length_bytes=min(mtu_bytes, LARGE_BYTES), dont_fragment=True,
    )  # fmt: skip


def dns_flow(namespace: NamespaceId, server: str, protocol: Protocol = "udp") -> Flow:
    """The way of a question to a name server."""
    return Flow(
        namespace=namespace,
        family=6 if ":" in server else 4,
        destination=canonical(server),
        protocol=protocol,
        port=53,
        length_bytes=72 + (IPV6_LONGER_BY if ":" in server else 0),
    )
