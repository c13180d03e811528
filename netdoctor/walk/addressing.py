"""Addresses and prefixes as numbers, parsed once each."""

import ipaddress
from functools import lru_cache

BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
PREFIX_BITS = {4: 32, 6: 128}


@lru_cache(maxsize=65536)
def number(address: str) -> int:
    """The address as an integer."""
    return int(ipaddress.ip_address(address.partition("%")[0]))


@lru_cache(maxsize=65536)
def prefix(text: str) -> tuple[int, int, int]:
    """ "10.0.0.0/24" -> (network, mask, length)."""
    network = ipaddress.ip_network(text, strict=False)
    return int(network.network_address), int(network.netmask), network.prefixlen


def contains(text: str, address: str) -> bool:
    """True when the prefix covers the address; a prefix of the other family does not."""
    if (":" in text) != (":" in address):
        return False
    network, mask, _ = prefix(text)
    return number(address) & mask == network


@lru_cache(maxsize=4096)
def network_of(address: str, length: int) -> str:
    """("10.0.0.2", 24) -> "10.0.0.0/24"."""
    return str(ipaddress.ip_network(f"{address}/{length}", strict=False))


def family_of(address: str) -> int:
    return 6 if ":" in address else 4


@lru_cache(maxsize=4096)
def is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


@lru_cache(maxsize=4096)
def is_link_local(address: str) -> bool:
    return ipaddress.ip_address(address).is_link_local


@lru_cache(maxsize=4096)
def is_multicast(address: str) -> bool:
    return ipaddress.ip_address(address).is_multicast


@lru_cache(maxsize=4096)
def is_private(address: str) -> bool:
    """RFC 1918, CGNAT, ULA and the like: an address that the internet has no route back to."""
    parsed = ipaddress.ip_address(address)
    return not parsed.is_global


def common_bits(left: str, right: str) -> int:
    """How many leading bits two addresses of one family share."""
    bits = PREFIX_BITS[family_of(left)]
    return bits - (number(left) ^ number(right)).bit_length()
