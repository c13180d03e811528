"""Queueing disciplines with the filters they carry (RTM_NEWQDISC, RTM_DELQDISC, RTM_NEWTFILTER)."""

import struct

from netdoctor.errors import NetdoctorError
from netdoctor.fix.faithful import qdisc_loss
from netdoctor.model.change import AddQdisc, DeleteQdisc
from netdoctor.model.network import Qdisc, TrafficFilter
from netdoctor.netlink.wire import NETLINK_ROUTE, attribute
from netdoctor.observe.traffic_control import PARENTS, TCMSG

from .writer import F_CREATE, F_EXCLUDE, Request, Writer

RTM_NEWQDISC, RTM_DELQDISC, RTM_NEWTFILTER = 36, 37, 44
TCA_KIND, TCA_OPTIONS, NESTED = 1, 2, 0x8000
TCA_BPF_OPS_LEN, TCA_BPF_OPS, TCA_BPF_FLAGS = 4, 5, 8
TC_H_ROOT, TC_H_INGRESS = 0xFFFFFFFF, 0xFFFFFFF1


def write_qdisc(change: AddQdisc | DeleteQdisc) -> None:
    """Adds a qdisc and its filters, or deletes it with all it carries. Raises OSError, NetdoctorError."""
    qdisc = change.qdisc
    place = TCMSG.pack(0, 0, 0, qdisc.index, _handle(qdisc), _parent(qdisc.parent), 0)
    with Writer(NETLINK_ROUTE) as writer:
        if isinstance(change, DeleteQdisc):
            writer.send(Request(RTM_DELQDISC, place + _text(qdisc.kind)))
            return
        loss = qdisc_loss(qdisc, change.filters)
        if loss:
            raise NetdoctorError(f"{change.link}: {loss}")
        if qdisc.kind == "tbf":
            _token_bucket(qdisc)
        else:
            writer.send(Request(RTM_NEWQDISC, place + _text(qdisc.kind) + _options(qdisc), F_CREATE | F_EXCLUDE))
        for each in change.filters:
            writer.send(Request(RTM_NEWTFILTER, _filter(each, qdisc), F_CREATE | F_EXCLUDE))


def _text(kind: str) -> bytes:
    return attribute(TCA_KIND, kind.encode() + b"\0")


def _handle(qdisc: Qdisc) -> int:
    major, _, minor = qdisc.handle.partition(":")
    return int(major or "0", 16) << 16 | int(minor or "0", 16)


def _parent(parent: str) -> int:
    if parent in ("root", "ingress", "clsact"):
        return TC_H_ROOT if parent == "root" else TC_H_INGRESS
    major, _, minor = parent.partition(":")
    return int(major, 16) << 16 | int(minor or "0", 16)


def _options(qdisc: Qdisc) -> bytes:
    if qdisc.kind in ("pfifo", "bfifo", "pfifo_head_drop"):
        return attribute(TCA_OPTIONS, struct.pack("=I", qdisc.options["limit"]))
    return b""


def _token_bucket(qdisc: Qdisc) -> None:
    """The rate tables of tbf are pyroute2's to compute."""
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        ip.tc(
            "add",
            "tbf",
            qdisc.index,
            _handle(qdisc),
            parent=_parent(qdisc.parent),
            rate=qdisc.options["rate_bytes"],
            burst=qdisc.options["burst_bytes"],
            limit=qdisc.options["limit"],
        )


def _filter(each: TrafficFilter, qdisc: Qdisc) -> bytes:
    """A classic BPF filter from its text, "da bytecode 2,40 0 0 12,6 0 0 0"."""
    direct, _, code = each.program.partition("bytecode ")
    instructions = [tuple(int(word) for word in part.split()) for part in code.split(",")[1:]]
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    options = attribute(TCA_BPF_OPS_LEN, struct.pack("=H", len(instructions))) + attribute(TCA_BPF_OPS, program)
    options += attribute(TCA_BPF_FLAGS, struct.pack("=I", 1)) if direct.strip() == "da" else b""
    parent = PARENTS[each.side] if qdisc.kind == "clsact" else 0xFFFF0000
    protocol = struct.unpack("=H", struct.pack("!H", int(each.protocol, 16)))[0]
    header = TCMSG.pack(0, 0, 0, each.index, each.handle, parent, each.priority << 16 | protocol)
    return header + _text(each.kind) + attribute(TCA_OPTIONS | NESTED, options)
