"""Filters, programs and queues of an interface: what they are called, and what takes them away."""

from netdoctor.checks import ground
from netdoctor.model.change import Change, DeleteQdisc
from netdoctor.model.journey import Step
from netdoctor.model.snapshot import Snapshot
from netdoctor.model.unknown import Unknown


def name_of(facts: dict[str, str], text: str) -> str:
    """ "queue tbf of veth0 (qdisc tbf 1: dev veth0 root limit 1)", "XDP program 12 on veth0", "tc bpf ingress filter on veth0 (...)"."""
    if "handle" in facts:
        name = f"queue {facts['kind']} of {facts['link']}"
    elif "side" in facts:
        name = f"tc {facts.get('kind', '')} {facts['side']} filter on {facts['link']}"
    else:
        return f"XDP program {facts.get('program', '')} on {facts['link']}"
    return f"{name} ({text})" if text else name


def without_qdisc(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    """Takes away the qdisc that carries the filter, or the queue that drops; programs of others are left to a person."""
    facts = step.facts
    namespace = ground.namespace(snapshot, step.namespace)
    link = ground.link(snapshot, step.namespace, facts["link"])
    if namespace is None or link is None or isinstance(namespace.qdiscs, Unknown) or facts.get("kind") == "tcx":
        return ()
    filters = namespace.filters.get(link.name, ())
    kept = () if isinstance(filters, Unknown) else filters
    queue = "handle" in facts
    wanted = (facts["kind"],) if queue else ("clsact", "ingress")
    qdisc = next(
        (
            one
            for one in namespace.qdiscs
            if one.index == link.index and one.kind in wanted and (not queue or one.parent == "root")
        ),
        None,
    )
    if qdisc is None:
        return ()
    return (DeleteQdisc(namespace=step.namespace, link=link.name, qdisc=qdisc, filters=() if queue else kept),)
