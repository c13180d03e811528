"""RTM_GETQDISC, RTM_GETTFILTER, BPF_PROG_QUERY -> Qdiscs, TrafficFilters. Numbers: linux/{pkt_sched,pkt_cls,bpf}.h."""

import ctypes
import errno
import struct

from netdoctor.model.network import Link, Qdisc, TrafficFilter
from netdoctor.netlink.wire import Attributes, Reader, attributes, each, text, u16, u32, u64

RTM_GETQDISC, RTM_GETTFILTER = 38, 46
TCMSG = struct.Struct("=BBHiIII")
INGRESS_QDISCS = ("ingress", "clsact")
PARENTS = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
SYS_BPF, BPF_PROG_QUERY = 321, 16
TCX_ATTACH = {"ingress": 46, "egress": 47}
TICK_NS = 64
ACTION_NAMES = {0: "ok", 1: "reclassify", 2: "drop", 3: "pipe", 7: "redirect", -1: "continue"}

_libc = ctypes.CDLL(None, use_errno=True)


def read_qdiscs(reader: Reader) -> tuple[Qdisc, ...]:
    """Every queueing discipline of every device, defaults included."""
    return tuple(_qdisc(message) for message in reader.dump(RTM_GETQDISC, TCMSG.pack(0, 0, 0, 0, 0, 0, 0)))


def _qdisc(message: memoryview) -> Qdisc:
    _, _, _, index, handle, parent, _ = TCMSG.unpack_from(message)
    found = attributes(message[20:])
    kind = text(found[1]) if 1 in found else ""
    statistics = attributes(found[7]) if 7 in found else {}
    queue = statistics.get(3)
    basic = statistics.get(1)
    return Qdisc(
        index=index,
        kind=kind,
        handle=f"{handle >> 16:x}:",
        parent=_parent(parent),
        options=_options(kind, found.get(2)),
        sent_packets=u32(basic[8:]) if basic is not None else 0,
        drops=u32(queue[8:]) if queue is not None else 0,
        backlog_packets=u32(queue) if queue is not None else 0,
    )


def _parent(parent: int) -> str:
    if parent == 0xFFFFFFFF:
        return "root"
    return "ingress" if parent == 0xFFFFFFF1 else f"{parent >> 16:x}:{parent & 0xFFFF:x}"


def _options(kind: str, value: memoryview | None) -> dict[str, int]:
    """The options that can starve a packet: queue limits, token bucket sizes."""
    if value is None:
        return {}
    if kind in ("pfifo", "bfifo", "pfifo_head_drop") and len(value) >= 4:
        return {"limit": u32(value)}
    found = attributes(value)
    if kind == "tbf" and 1 in found:
        rate, limit = u32(found[1][8:]), u32(found[1][24:])
        return {
            "rate_bytes": u64(found[4]) if 4 in found else rate,
            "limit": limit,
            "burst_bytes": u32(found[6]) if 6 in found else u32(found[1][28:]) * TICK_NS * rate // 10**9,
        }
    if kind == "htb" and 2 in found:
        return {"default_class": u32(found[2][8:])}
    if kind == "netem" and len(value) >= 16:
        return {"limit": u32(value[4:]), "loss": u32(value[8:])}
    return {}


def read_filters(reader: Reader, link: Link, qdiscs: tuple[Qdisc, ...]) -> tuple[TrafficFilter, ...]:
    """The filters at both sides of one device: classic tc filters, and TCX programs, which tc does not list."""
    found: list[TrafficFilter] = []
    kinds = {qdisc.kind for qdisc in qdiscs if qdisc.index == link.index}
    sides = [("ingress", PARENTS["ingress"]), ("egress", PARENTS["egress"])] if "clsact" in kinds else []
    if "ingress" in kinds:
        sides = [("ingress", 0xFFFF0000)]
    for side, parent in sides:
        for message in reader.dump(RTM_GETTFILTER, TCMSG.pack(0, 0, 0, link.index, 0, parent, 0)):
            entry = _filter(message, side)
            if entry is not None:
                found.append(entry)
    return tuple(found) + _tcx_programs(link.index)


def _filter(message: memoryview, side: str) -> TrafficFilter | None:
    _, _, _, index, handle, _, info = TCMSG.unpack_from(message)
    found = attributes(message[20:])
    kind = text(found[1]) if 1 in found else ""
    if handle == 0 or 2 not in found:
        return None
    options = attributes(found[2])
    actions, redirect = _actions(kind, options)
    return TrafficFilter(
        index=index,
        side="ingress" if side == "ingress" else "egress",
        kind=kind,
        priority=info >> 16,
        protocol=f"0x{int.from_bytes(struct.pack('=H', info & 0xFFFF), 'big'):04x}",
        handle=handle,
        chain=u32(found[11]) if 11 in found else 0,
        actions=actions,
        redirect_index=redirect,
        program=_program(kind, options),
    )


def _actions(kind: str, options: Attributes) -> tuple[tuple[str, ...], int]:
    """What the filter's actions do, by name, and the device a mirred action sends to."""
    nested = {"u32": 7, "bpf": 1, "basic": 3, "flower": 3, "matchall": 2, "fw": 4}.get(kind)
    if nested is None or nested not in options:
        return (), 0
    names, redirect = [], 0
    for _, action in each(options[nested]):
        found = attributes(action)
        name = text(found[1]) if 1 in found else "?"
        body = attributes(found[2]) if 2 in found else {}
        if name == "mirred" and 2 in body:
            redirect = u32(body[2][24:])
        if name == "gact" and 2 in body:
            name = ACTION_NAMES.get(struct.unpack_from("=i", body[2], 8)[0], "gact")
        names.append(name)
    return tuple(names), redirect


def _program(kind: str, options: Attributes) -> str:
    """What a BPF filter says of itself: name, or the classic bytecode as tc takes it; "da" when it acts directly."""
    if kind != "bpf":
        return ""
    flags = u32(options[8]) if 8 in options else 0
    direct = "da " if flags & 1 else ""
    if 5 in options and 4 in options:
        code = bytes(options[5])
        instructions = [
            "{} {} {} {}".format(*struct.unpack_from("=HBBI", code, offset)) for offset in range(0, len(code), 8)
        ]
        return f"{direct}bytecode {u16(options[4])},{','.join(instructions)}"
    return f"{direct}{text(options[7]) if 7 in options else 'program'}"


def _tcx_programs(index: int) -> tuple[TrafficFilter, ...]:
    """TCX programs on one device of the calling thread's namespace; none where the kernel has no TCX (before 6.6).

    Where it refuses to tell (the question needs CAP_NET_ADMIN of the whole machine), one entry that says so.
    """
    found = []
    for side, attach in TCX_ATTACH.items():
        ids = (ctypes.c_uint32 * 16)()
        query = struct.pack("=IIIIQI", index, attach, 0, 0, ctypes.addressof(ids), 16) + bytes(36)
        buffer = ctypes.create_string_buffer(query, 64)
        if _libc.syscall(SYS_BPF, BPF_PROG_QUERY, buffer, 64) != 0:
            refused = ctypes.get_errno() in (errno.EPERM, errno.EACCES)
            why = "the kernel does not tell without CAP_NET_ADMIN in its first user namespace"
            return (TrafficFilter(index=index, side="ingress", kind="tcx", unread=why),) if refused else ()
        count = struct.unpack_from("=I", buffer, 24)[0]
        found += [
            TrafficFilter(
                index=index, side="ingress" if side == "ingress" else "egress", kind="tcx", program=f"id {ids[i]}"
            )
            for i in range(min(count, 16))
        ]
    return tuple(found)
