"""Expressions that load a register: rt, socket, fib, numgen, hash, exthdr ... (net/netfilter/nft_*.c)."""

from netdoctor.model.expression import Exthdr, Fib, Hash, Immediate, Numgen, Osf, Rt, SocketLookup, Xfrm
from netdoctor.model.network import Socket
from netdoctor.model.unknown import Unknown
from netdoctor.walk.packet import TCP

from .headers import SYN, tcp_options
from .jhash import jhash
from .registers import Bits, hidden_bits, small, u32
from .state import Outcome, State

ROUTE_TYPES = (
    "unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw",
    "nat",
)  # fmt: skip
IFNAMSIZ = 16
ETHER_TYPES = {4: 0x0800, 6: 0x86DD}
ANY_ADDRESS = ("0.0.0.0", "::")
FEW = 16
"""How many values of a number nobody can tell are worth a world each."""
RT_LENGTHS = {"classid": 4, "nexthop4": 4, "nexthop6": 16, "tcpmss": 2, "ipsec": 1}
SOCKET_LENGTHS = {"transparent": 1, "mark": 4, "wildcard": 1, "cgroupv2": 8}
SCTP, DCCP = 132, 33
IPV6_HEADER, TCP_OPTION, IP_OPTION, SCTP_CHUNK, DCCP_OPTION = range(5)


def immediate(state: State, expression: Immediate) -> Outcome:
    state.registers.store(expression.register, Bits(expression.value))
    return True


def rt(state: State, expression: Rt) -> Outcome:
    """What hangs on the packet's route, which it has not got before routing (nft_rt.c)."""
    packet, key = state.packet, expression.key
    link = state.facts.links.get(packet.in_device)
    if state.base.hook == "prerouting" and not (link is not None and link.loopback):
        return False
    if (key == "nexthop4" and packet.family != 4) or (key == "nexthop6" and packet.family != 6):
        return False
    ipsec = state.facts.ipsec
    if key == "ipsec" and not isinstance(ipsec, Unknown):
        state.registers.store(expression.register, Bits(bytes([ipsec])))
        return True
    why = ipsec.why if key == "ipsec" and isinstance(ipsec, Unknown) else f"rt {key} is not modelled"
    state.registers.store(expression.register, hidden_bits(RT_LENGTHS.get(key, 16), why))
    return True


def socket_lookup(state: State, expression: SocketLookup) -> Outcome:
    """Breaks off without a socket; whether it is transparent or bound to any address is known (net/netfilter/nft_socket.c)."""
    found = state.facts.socket(state.packet)
    if found is None:
        return False
    length = SOCKET_LENGTHS.get(expression.key, 8)
    bits = hidden_bits(length, found.why if isinstance(found, Unknown) else f"socket {expression.key} is not modelled")
    if isinstance(found, Socket) and expression.key == "wildcard":
        bits = Bits(bytes([found.address in ANY_ADDRESS]))
    if isinstance(found, Socket) and expression.key == "transparent" and found.transparent is not None:
        bits = Bits(bytes([found.transparent]))
    state.registers.store(expression.register, bits)
    return True


def xfrm(state: State, expression: Xfrm) -> Outcome:
    """Breaks off for packets that pass through no transform (nft_xfrm.c)."""
    ipsec = state.facts.ipsec
    if ipsec is False:
        return False
    why = ipsec.why if isinstance(ipsec, Unknown) else "what IPsec transform the packet passes is not modelled"
    state.registers.store(expression.register, hidden_bits(16 if expression.key.endswith("in6") else 4, why))
    return True


def osf(state: State, expression: Osf) -> Outcome:
    """Only a SYN is looked at (nft_osf.c)."""
    packet = state.packet
    if packet.protocol != TCP or not packet.tcp_flags & SYN:
        return False
    why = "what operating system the SYN looks like is not modelled"
    state.registers.store(expression.register, hidden_bits(16, why))
    return True


def numgen(state: State, expression: Numgen | Hash) -> Outcome:
    """Numbers and hashes: foreseeable are a modulus of one, and a jhash of known bytes with a known seed.

    Of several worlds each has its number.
    """
    number = 0 if expression.modulus == 1 else _jhash(state, expression)
    if number is None and state.choices is not None and expression.modulus <= FEW:
        number = state.choices.choose(expression.modulus)
    if number is not None:
        state.registers.store(expression.register, u32(expression.offset + number))
        return True
    kind = f"numgen {expression.mode}" if isinstance(expression, Numgen) else expression.mode
    why = f"`{kind} mod {expression.modulus}` differs from packet to packet"
    state.registers.store(expression.register, small(expression.modulus, expression.offset, why))
    return True


def _jhash(state: State, expression: Numgen | Hash) -> int | None:
    """reciprocal_scale of the hash (nft_hash.c); None where it cannot be known."""
    if not isinstance(expression, Hash) or expression.mode != "jhash" or expression.seed is None:
        return None
    bits = state.registers.load(expression.source, expression.length)
    return jhash(bits.value, expression.seed) * expression.modulus >> 32 if bits.known else None


def exthdr(state: State, expression: Exthdr) -> Outcome:
    """Modelled packets carry no IP options or extension headers; TCP options they do, but unknown ones."""
    packet = state.packet
    version = {IPV6_HEADER: 6, IP_OPTION: 4}.get(expression.operation)
    if version is not None:
        if packet.ether_type != ETHER_TYPES[version]:
            return False
        return _absent(state, expression)
    protocol = {TCP_OPTION: TCP, SCTP_CHUNK: SCTP, DCCP_OPTION: DCCP}.get(expression.operation)
    if packet.protocol != protocol or packet.ether_type not in ETHER_TYPES.values():
        return _absent(state, expression)
    if not expression.register:
        return True
    options = tcp_options(packet) if expression.operation == TCP_OPTION else None
    if options is not None:
        return _tcp_option(state, expression, options)
    why = {TCP_OPTION: "TCP options", SCTP_CHUNK: "SCTP chunks"}.get(expression.operation, "DCCP options")
    bits = hidden_bits(max(expression.length, 1), f"{why} are not modelled")
    state.registers.store(expression.register, Bits(b"\0", b"\x01", bits.why) if expression.flags & 1 else bits)
    return True


def _tcp_option(state: State, expression: Exthdr, options: bytes) -> Outcome:
    """nft_exthdr_tcp_eval: kinds 0 and 1 are one byte long, the others say how long they are."""
    place = 0
    while place < len(options) - 1:
        size = 1 if options[place] <= 1 or not options[place + 1] else options[place + 1]
        if options[place] == expression.type:
            fits = place + size <= len(options) and expression.offset + expression.length <= size
            if not fits:
                break
            start = place + expression.offset
            value = b"\x01" if expression.flags & 1 else options[start : start + expression.length]
            state.registers.store(expression.register, Bits(value))
            return True
        place += size
    return _absent(state, expression)


def _absent(state: State, expression: Exthdr) -> Outcome:
    """What is not there is "missing", and otherwise ends the rule."""
    if not expression.flags & 1:
        return False
    state.registers.store(expression.register, Bits(b"\0"))
    return True


def fib(state: State, expression: Fib) -> Outcome:
    """Route lookups from a rule: reverse path tests and address types (net/ipv4/netfilter/nft_fib_ipv4.c)."""
    packet = state.packet
    if packet.ether_type not in ETHER_TYPES.values():
        return False
    field = "source" if "saddr" in expression.flags else "destination"
    address = packet.source if field == "source" else packet.destination
    doubt = state.uncertain.get(field) or ("mark" in expression.flags and state.uncertain.get("mark")) or ""
    if doubt:
        length = IFNAMSIZ if expression.result == "oifname" and "present" not in expression.flags else 4
        state.registers.store(expression.register, hidden_bits(length, doubt))
    elif expression.result == "type":
        flags = expression.flags
        device = packet.in_device if "iif" in flags else packet.out_device if "oif" in flags else ""
        kind = state.facts.address_type(address, device)
        bits = hidden_bits(4, kind.why) if isinstance(kind, Unknown) else u32(ROUTE_TYPES.index(kind))
        state.registers.store(expression.register, bits)
    else:
        state.registers.store(expression.register, _fib_device(state, expression, address))
    return True


def _fib_device(state: State, expression: Fib, address: str) -> Bits:
    """The device towards an address; none towards one of the host's own."""
    packet = state.packet
    length = IFNAMSIZ if expression.result == "oifname" else 4
    device = _found_device(state, address, packet.mark if "mark" in expression.flags else 0)
    if not isinstance(device, Unknown) and state.facts.address_type(address, "") == "local" and not _by_loopback(state):
        device = ""
    if isinstance(device, Unknown):
        return hidden_bits(1 if "present" in expression.flags else length, device.why)
    if "iif" in expression.flags and device != packet.in_device:
        device = ""
    if "oif" in expression.flags and device != packet.out_device:
        device = ""
    if "present" in expression.flags:
        return Bits(bytes([bool(device)]))
    if expression.result == "oifname":
        return Bits(device.encode().ljust(IFNAMSIZ, b"\0"))
    link = state.facts.links.get(device)
    if device and link is None:
        return hidden_bits(4, f"nothing is known of interface {device}")
    return u32(link.index if link else 0)


def _found_device(state: State, address: str, mark: int) -> str | Unknown:
    """Packets without a source address yet, as a DHCP client's, are taken as they are."""
    packet = state.packet
    nobody = packet.family == 4 and packet.source.startswith("0.")
    if nobody and (packet.destination == "255.255.255.255" or packet.destination.startswith("224.0.0.")):
        return packet.in_device or packet.out_device
    return reverse_path(state, address, mark)


def _by_loopback(state: State) -> bool:
    link = state.facts.links.get(state.packet.in_device)
    return link is not None and link.loopback


def reverse_path(state: State, address: str, mark: int) -> str | Unknown:
    """The device a packet to `address` leaves by; packets that come in by loopback are taken as they are."""
    if _by_loopback(state):
        return state.packet.in_device
    return state.facts.fib_device(address, mark, state.packet.in_device)
