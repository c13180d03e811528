"""New rules and corrected ones, in the form the backend's own tool writes, so that it can still print them."""

from ipaddress import ip_network
from typing import Literal

import msgspec

from netdoctor.model import expression as e
from netdoctor.model.firewall import Backend, Rule, TableFamily

from .compat import compat_of
from .encode import CannotEncode, encode_expressions
from .legacy_entry import encode_entry, legacy_header, with_header
from .result import RuleSpec
from .xt_structs import comment_info, conntrack_info_bytes, masquerade_info, tcp_info, udp_info

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58}
CT_BITS = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
ETHER_TYPES = {"ip": 0x0800, "ip6": 0x86DD, "arp": 0x0806}
IFNAMSIZ = 16
AmendedField = Literal["in_device", "out_device", "source", "destination"]


def compose(spec: RuleSpec, backend: Backend, family: TableFamily) -> Rule:
    """The rule, ready to be written: expressions, raw bytes, user data and compat data."""
    if backend == "iptables-legacy":
        return _legacy(spec, "ip6" if family == "ip6" else "ip")
    native = backend == "nft"
    expressions = (*_header(spec, native, family), *_extras(spec, native), e.Counter(), *_action(spec, native, family))
    userdata = _userdata(spec.comment) if native else b""
    return Rule(
        expressions=expressions, comment=spec.comment, packets=0, bytes=0, raw=encode_expressions(expressions),
        userdata=userdata, compat=compat_of(expressions),
    )  # fmt: skip


def _header(spec: RuleSpec, native: bool, family: TableFamily) -> tuple[e.AnyExpression, ...]:
    """Devices, protocol and addresses, in iptables-nft's order or nft's."""
    version = _version(spec)
    devices = _device("iifname", spec.in_device, native) + _device("oifname", spec.out_device, native)
    protocol: tuple[e.AnyExpression, ...] = ()
    if spec.protocol:
        protocol = (e.Meta(key="l4proto", register=1), _equal(bytes([PROTOCOLS[spec.protocol]])))
    addresses = _address("source", spec.source) + _address("destination", spec.destination)
    needs_family = native and family not in ("ip", "ip6") and (addresses or spec.protocol in ("icmp", "icmpv6"))
    if spec.ether_type or (needs_family and family in ("bridge", "netdev")):
        number = ETHER_TYPES[spec.ether_type or ("ip" if version == 4 else "ip6")]
        addresses = (e.Meta(key="protocol", register=1), _equal(number.to_bytes(2, "big")), *addresses)
    elif needs_family:
        addresses = (e.Meta(key="nfproto", register=1), _equal(b"\x02" if version == 4 else b"\x0a"), *addresses)
    port = _port(spec)
    return (*devices, *addresses, *protocol, *port) if native else (*devices, *protocol, *addresses, *port)


def _version(spec: RuleSpec) -> int:
    if not spec.source and not spec.destination:
        return 6 if spec.protocol == "icmpv6" else 4
    return ip_network(spec.source or spec.destination, strict=False).version


def _equal(value: bytes) -> e.Cmp:
    return e.Cmp(operator="eq", register=1, value=value)


def _device(key: str, name: str, native: bool) -> tuple[e.AnyExpression, ...]:
    return (e.Meta(key=key, register=1), _equal(_device_bytes(name, native))) if name else ()


def _device_bytes(name: str, native: bool) -> bytes:
    """nft compares all 16 bytes, iptables the name with its NUL; a prefix ("veth+", "veth*") without it."""
    if name.endswith(("+", "*")):
        return name[:-1].encode()
    return name.encode().ljust(IFNAMSIZ, b"\0") if native else name.encode() + b"\0"


def _address(side: str, prefix: str) -> tuple[e.AnyExpression, ...]:
    """Both tools load whole bytes of a prefix where they can, and mask otherwise."""
    if not prefix:
        return ()
    network = ip_network(prefix, strict=False)
    raw, mask, bits = network.network_address.packed, network.netmask.packed, network.prefixlen
    offset = {(4, "source"): 12, (4, "destination"): 16, (6, "source"): 8, (6, "destination"): 24}[
        network.version, side
    ]
    if not bits:
        return ()
    if bits % 8 == 0:
        return e.Payload(base="network", offset=offset, length=bits // 8, register=1), _equal(raw[: bits // 8])
    return (
        e.Payload(base="network", offset=offset, length=len(raw), register=1),
        e.Bitwise(source=1, destination=1, length=len(raw), mask=mask, xor=bytes(len(raw))),
        _equal(raw),
    )


def _port(spec: RuleSpec) -> tuple[e.AnyExpression, ...]:
    if not spec.destination_port:
        return ()
    if spec.protocol not in ("tcp", "udp"):
        raise ValueError("a destination port needs protocol tcp or udp")
    port = e.Payload(base="transport", offset=2, length=2, register=1)
    return port, _equal(spec.destination_port.to_bytes(2, "big"))


def _extras(spec: RuleSpec, native: bool) -> tuple[e.AnyExpression, ...]:
    """Connection states and, as iptables has it, the comment."""
    if not native:
        return _matches(spec)
    if not spec.ct_states:
        return ()
    mask = sum(CT_BITS[state] for state in spec.ct_states).to_bytes(4, "little")
    return (
        e.Ct(key="state", register=1),
        e.Bitwise(source=1, destination=1, length=4, mask=mask, xor=bytes(4)),
        e.Cmp(operator="neq", register=1, value=bytes(4)),
    )


def _matches(spec: RuleSpec) -> tuple[e.XtMatch, ...]:
    found: list[e.XtMatch] = []
    if spec.ct_states:
        found.append(e.XtMatch(name="conntrack", revision=3, info=conntrack_info_bytes(spec.ct_states)))
    if spec.comment:
        found.append(e.XtMatch(name="comment", revision=0, info=comment_info(spec.comment)))
    return tuple(found)


def _action(spec: RuleSpec, native: bool, family: TableFamily) -> tuple[e.AnyExpression, ...]:
    match spec.verdict:
        case "masquerade" if native:
            return (e.Masquerade(),)
        case "masquerade":
            return (e.XtTarget(name="MASQUERADE", revision=0, info=masquerade_info(6 if family == "ip6" else 4)),)
        case "accept" | "drop" | "return" as code:
            return (e.Verdict(code=code),)


def _userdata(comment: str) -> bytes:
    """NFTNL_UDATA_RULE_COMMENT: type, length, text with its NUL."""
    raw = comment.encode()[:127] + b"\0"
    return bytes([0, len(raw)]) + raw if comment else b""


def _legacy(spec: RuleSpec, family: Literal["ip", "ip6"]) -> Rule:
    header = legacy_header(family, spec.source, spec.destination, spec.in_device, spec.out_device)
    header = msgspec.structs.replace(header, protocol=PROTOCOLS.get(spec.protocol, 0))
    if family == "ip6" and spec.protocol:
        header = msgspec.structs.replace(header, flags=1)
    ports: tuple[e.XtMatch, ...] = ()
    if spec.destination_port:
        info = tcp_info if spec.protocol == "tcp" else udp_info
        ports = (e.XtMatch(name=spec.protocol, revision=0, info=info(spec.destination_port)),)
    expressions = (header, *ports, *_matches(spec), *_action(spec, False, family))
    return Rule(expressions=expressions, comment=spec.comment, packets=0, bytes=0, raw=encode_entry(expressions))


def amended(rule: Rule, field: AmendedField, value: str) -> Rule:
    """The rule with one condition changed and its bytes made anew. ValueError: it does not test the field."""
    if rule.expressions and isinstance(rule.expressions[0], e.XtHeader):
        return _amended_legacy(rule, rule.expressions[0], field, value)
    expressions = _amended_expressions(rule.expressions, field, value)
    try:
        raw = encode_expressions(expressions)
    except CannotEncode as reason:
        raise ValueError(f"the rule cannot be written anew: {reason}") from reason
    return msgspec.structs.replace(rule, handle=0, expressions=expressions, raw=raw)


def _amended_expressions(
    expressions: tuple[e.AnyExpression, ...], field: AmendedField, value: str
) -> tuple[e.AnyExpression, ...]:
    for index, load in enumerate(expressions):
        masked = index + 1 < len(expressions) and isinstance(expressions[index + 1], e.Bitwise)
        end = index + (3 if masked else 2)
        test = expressions[end - 1] if end <= len(expressions) else None
        if not isinstance(test, e.Cmp) or not _loads(load, field):
            continue
        if field in ("in_device", "out_device"):
            native = len(test.value) == IFNAMSIZ
            new = _device("iifname" if field == "in_device" else "oifname", value, native)
        else:
            new = _address(field, value)
        kept = msgspec.structs.replace(new[-1], operator=test.operator) if new else None
        return (*expressions[:index], *new[:-1], *((kept,) if kept else ()), *expressions[end:])
    raise ValueError(f"the rule does not compare its {field} with one value")


def _loads(load: e.AnyExpression, field: AmendedField) -> bool:
    keys = {"in_device": ("iifname", "iif"), "out_device": ("oifname", "oif")}
    if isinstance(load, e.Meta):
        return load.key in keys.get(field, ())
    offsets = {"source": (12, 8), "destination": (16, 24)}
    if not isinstance(load, e.Payload) or load.base != "network" or field not in offsets:
        return False
    size = 4 if load.offset in (12, 16) else 16
    return load.offset in offsets[field] and 1 < load.length <= size


def _amended_legacy(rule: Rule, header: e.XtHeader, field: AmendedField, value: str) -> Rule:
    if field in ("in_device", "out_device"):
        new = msgspec.structs.replace(header, **{field: value})
    else:
        whole = legacy_header(header.family, value, value, "", "")
        raw, mask = whole.source, whole.source_mask
        new = msgspec.structs.replace(header, **{field: raw, f"{field}_mask": mask})
    return msgspec.structs.replace(rule, expressions=(new, *rule.expressions[1:]), raw=with_header(rule.raw, new))
