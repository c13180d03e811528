"""The statements of nf_tables rules, from their NFTA_EXPR_DATA. Source: linux/netfilter/nf_tables.h."""

from collections.abc import Callable

from netdoctor.model import expression as e

from .nft_attributes import EMPTY, ZERO, Attributes, be16, be32, be64, text


def _limit(a: Attributes) -> e.AnyExpression:
    return e.Limit(
        rate=be64(a[1]), unit_s=be64(a[2]), burst=be32(a.get(3, ZERO)),
        kind="bytes" if be32(a.get(4, ZERO)) else "packets", over=bool(be32(a.get(5, ZERO)) & 1),
    )  # fmt: skip


def _quota(a: Attributes) -> e.AnyExpression:
    return e.Quota(bytes=be64(a[1]), consumed=be64(a.get(4, ZERO)), over=bool(be32(a.get(2, ZERO)) & 1))


def _connlimit(a: Attributes) -> e.AnyExpression:
    return e.Connlimit(count=be32(a[1]), over=bool(be32(a.get(2, ZERO)) & 1))


def _counter(a: Attributes) -> e.AnyExpression:
    return e.Counter(packets=be64(a.get(2, ZERO)), bytes=be64(a.get(1, ZERO)))


def _last(a: Attributes) -> e.AnyExpression:
    return e.Last()


def _log(a: Attributes) -> e.AnyExpression:
    return e.Log(
        prefix=text(a.get(2, EMPTY)), group=be16(a[1]) if 1 in a else None, level=be32(a[5]) if 5 in a else None,
        flags=be32(a.get(6, ZERO)), snap_length=be32(a[3]) if 3 in a else None,
        queue_threshold=be16(a[4]) if 4 in a else None,
    )  # fmt: skip


def _reject(a: Attributes) -> e.AnyExpression:
    return e.Reject(kind=be32(a[1]), code=a.get(2, ZERO)[0])


def _nat(a: Attributes) -> e.AnyExpression:
    return e.Nat(
        kind="dnat" if be32(a[1]) else "snat", family="ip" if be32(a[2]) == 2 else "ip6",
        address_min=be32(a.get(3, ZERO)), address_max=be32(a.get(4, ZERO)), port_min=be32(a.get(5, ZERO)),
        port_max=be32(a.get(6, ZERO)), flags=be32(a.get(7, ZERO)),
    )  # fmt: skip


def _masq(a: Attributes) -> e.AnyExpression:
    return e.Masquerade(port_min=be32(a.get(2, ZERO)), port_max=be32(a.get(3, ZERO)), flags=be32(a.get(1, ZERO)))


def _redir(a: Attributes) -> e.AnyExpression:
    return e.Redirect(port_min=be32(a.get(1, ZERO)), port_max=be32(a.get(2, ZERO)), flags=be32(a.get(3, ZERO)))


def _notrack(a: Attributes) -> e.AnyExpression:
    return e.Notrack()


def _queue(a: Attributes) -> e.AnyExpression:
    return e.Queue(
        number=be16(a.get(1, ZERO)), total=be16(a[2]) if 2 in a else 1, flags=be16(a.get(3, ZERO)),
        register=be32(a.get(4, ZERO)),
    )  # fmt: skip


def _objref(a: Attributes) -> e.AnyExpression:
    return e.Objref(
        kind=be32(a.get(1, ZERO)), name=text(a.get(2, EMPTY)), set=text(a.get(4, EMPTY)), register=be32(a.get(3, ZERO))
    )


def _tproxy(a: Attributes) -> e.AnyExpression:
    return e.Tproxy(family=be32(a[1]), address=be32(a.get(2, ZERO)), port=be32(a.get(3, ZERO)))


def _dup(a: Attributes) -> e.AnyExpression:
    return e.Dup(address=be32(a.get(1, ZERO)), device=be32(a.get(2, ZERO)))


def _fwd(a: Attributes) -> e.AnyExpression:
    return e.Forward(device=be32(a[1]), address=be32(a.get(2, ZERO)), family=be32(a.get(3, ZERO)))


def _synproxy(a: Attributes) -> e.AnyExpression:
    return e.Synproxy(mss=be16(a.get(1, ZERO)), window_scale=a.get(2, ZERO)[0], flags=be32(a.get(3, ZERO)))


def _flow_offload(a: Attributes) -> e.AnyExpression:
    return e.FlowOffload(table=text(a[1]))


STATEMENTS: dict[str, Callable[[Attributes], e.AnyExpression]] = {
    "limit": _limit, "quota": _quota, "connlimit": _connlimit, "counter": _counter, "last": _last, "log": _log,
    "reject": _reject, "nat": _nat, "masq": _masq, "redir": _redir, "notrack": _notrack, "queue": _queue, "objref":
    _objref, "tproxy": _tproxy, "dup": _dup, "fwd": _fwd, "synproxy": _synproxy, "flow_offload": _flow_offload,
}  # fmt: skip
