"""Whether an undo can give back exactly what was there. Pure."""

from netdoctor.model.change import AddQdisc, Change
from netdoctor.model.network import Qdisc, TrafficFilter

PLAIN_QDISCS = ("clsact", "ingress", "noqueue", "pfifo_fast", "fq_codel", "fq")
SIZED_QDISCS = ("pfifo", "bfifo", "pfifo_head_drop")


def loss(change: Change) -> str:
    """Why `change`, run as part of an undo, would not give back what stood before; empty when it does."""
    match change:
        case AddQdisc(qdisc=qdisc, filters=filters):
            return qdisc_loss(qdisc, filters)
        case _:
            return ""


def qdisc_loss(qdisc: Qdisc, filters: tuple[TrafficFilter, ...]) -> str:
    """Why this qdisc cannot be made again as it was; empty when it can."""
    known = [each for each in filters if not each.unread]
    lost = [each for each in known if each.kind != "bpf" or "bytecode " not in each.program or each.chain]
    if lost:
        kinds = ", ".join(sorted({each.kind for each in lost}))
        return f"its filters ({kinds}) cannot be put back: their program is known to the kernel alone"
    if qdisc.kind in SIZED_QDISCS and "limit" in qdisc.options:
        return ""
    if qdisc.kind == "tbf" and all(qdisc.options.get(name) for name in ("rate_bytes", "burst_bytes", "limit")):
        return ""
    return "" if qdisc.kind in PLAIN_QDISCS else f"a {qdisc.kind} queueing discipline cannot be put back as it was"
