"""Answers that take another way than the request came by."""

from msgspec.structs import replace

from netdoctor.model.journey import Because, RoundTrip, Step
from netdoctor.model.network import Address
from netdoctor.model.snapshot import NamespaceId
from netdoctor.model.unknown import Unknown
from netdoctor.walk.addressing import contains, network_of
from netdoctor.walk.blame.grounds import askers_gateway, directly_attached, global_addresses, source_of
from netdoctor.walk.layer2 import link_text
from netdoctor.walk.view import View


def misrouted_reply(view: View, trip: RoundTrip, fatal: Step, beyond: frozenset[NamespaceId]) -> Step | None:
    """A stack of the forward way sends the answer by another interface than the request came in by, and it is lost."""
    if fatal.direction != "reply" or trip.reply is None:
        return None
    entries: dict[NamespaceId, str] = {}
    for step in trip.forward.steps:
        if step.kind == "device" and step.outcome == "pass" and step.namespace not in beyond:
            entries.setdefault(step.namespace, step.device)
    for step in trip.reply.steps:
        came_by = entries.get(step.namespace)
        if step.kind != "route" or came_by in (None, "lo") or step.namespace == trip.flow.namespace:
            continue
        gone_by = step.facts.get("device", "")
        if step.outcome == "pass" and gone_by == came_by:
            continue
        if step.cause == "route-refuses":
            return None
        if step.outcome == "pass" and step.facts.get("type") == "local":
            continue
        if step.facts.get("destination") != _asker(trip, step):
            continue
        return _return_step(view, trip, step, came_by or "")
    return None


def _asker(trip: RoundTrip, step: Step) -> str:
    """The source of the request as it entered this step's namespace."""
    for one in trip.forward.steps:
        if one.kind == "device" and one.outcome == "pass" and one.namespace == step.namespace:
            return source_of(one)
    return ""


def _return_step(view: View, trip: RoundTrip, step: Step, came_by: str) -> Step:
    """Why this stack has no way back: its address there covers too little, a better route captures it, or none is there."""
    key, asker = step.namespace, step.facts["destination"]
    name = view.name(key)
    link = view.link(key, came_by)
    own = global_addresses(view, key, link, trip.flow.family) if link else []
    gone = step.facts.get("device", "")
    gone_text = f"goes by {gone} ({step.facts.get('route', '')})" if gone else step.summary.split(": ")[-1]
    facts = {**step.facts, "link": came_by, "asker": asker, "gone_by": gone, "family": str(trip.flow.family)}
    narrow = _narrow(own, asker) if directly_attached(view, key, link, asker) else None
    if narrow is not None:
        text = f"{narrow.local}/{narrow.prefix_length}"
        return replace(
            step, kind="address-owner", outcome="block", cause="address-prefix-narrow", device=came_by,
            summary=f"{came_by} in {name} has {text}, whose prefix does not cover {asker}: the way back {gone_text}",
            because=(Because(kind="address", namespace=key, text=f"inet {text} dev {came_by}"), *step.because),
            facts={**facts, "address": text, "local": narrow.local, "length": str(narrow.prefix_length)},
        )  # fmt: skip
    gateway = askers_gateway(view, asker) if own and directly_attached(view, key, link, asker) else None
    if gateway is not None and not view.local_addresses(key, gateway[0]):
        return replace(
            step,
            kind="address-owner",
            outcome="block",
            cause="gateway-address-missing",
            device=came_by,
            summary=f"{came_by} in {name} does not have {gateway[0]}, the gateway of {asker}, but {own[0].local}/{own[0].prefix_length}: "
            f"the way back {gone_text}",
            because=(
                Because(
                    kind="address", namespace=key, text=f"inet {own[0].local}/{own[0].prefix_length} dev {came_by}"
                ),
                *step.because,
            ),
            facts={**facts, "gateway": gateway[0], "length": str(gateway[1])},
        )
    own_table = step.facts.get("table", "254") not in ("253", "254", "255")
    captured = bool(gone) and (own_table or not step.facts.get("prefix", "").endswith("/0"))
    alone = _has_single_address(view, asker)
    wanted = askers_gateway(view, asker)
    lost = f" ({asker} uses {wanted[0]} as its gateway)" if wanted else ""
    if not own and not alone and directly_attached(view, key, link, asker) and not captured:
        return replace(
            step, kind="address-owner", outcome="block", cause="gateway-address-missing", device=came_by,
            summary=f"{came_by} in {name} has no address{lost}, so {name} has no route back to {asker}: it {gone_text}",
            because=(Because(kind="link", namespace=key, text=link_text(link)) if link else step.because[0], *step.because), facts={name: value for name, value in facts.items() if name != "gateway"},
        )  # fmt: skip
    cause = "return-route-captured" if captured else "return-route-missing"
    text = (
        f"{name} sends the answers for {asker} away by {gone} ({step.facts.get('route', '')}), not back by {came_by}"
        if captured
        else f"{name} has no route back to {asker} by {came_by}: it {gone_text}"
    )
    return replace(step, outcome="block", cause=cause, summary=text, device=came_by, facts=facts)


def _has_single_address(view: View, asker: str) -> bool:
    """True for a container with a /32 (/128): its host has a route to it and no subnet."""
    for namespace in view.snapshot.namespaces.values():
        for one in () if isinstance(namespace.addresses, Unknown) else namespace.addresses:
            if one.local == asker:
                return one.prefix_length == (32 if one.family == 4 else 128)
    return False


def _narrow(own: list[Address], asker: str) -> Address | None:
    """An address that should have made the route back and whose prefix is too long for it."""
    if not own or any(contains(network_of(one.local, one.prefix_length), asker) or one.peer for one in own):
        return None
    near = [one for one in own if contains(network_of(one.local, 16 if one.family == 4 else 48), asker)]
    return near[0] if near else None
