"""What a chain did to a packet, as a step of its way: dropped, perhaps dropped, passed; and the rule's words and facts."""

from netdoctor.model.journey import Because, Step
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.netfilter import BaseChain, ChainResult, RuleRef
from netdoctor.walk.packet import Packet
from netdoctor.walk.trail import Trail


def blocked(trail: Trail, key: NamespaceId, base: BaseChain, result: ChainResult, packet: Packet) -> Step:
    """The rule or policy that drops or rejects it."""
    rule = result.rule
    verb = "rejects" if result.reject else "drops"
    what = f"policy of {chain_name(rule)}" if rule.is_policy else f"rule {rule.line} of {chain_name(rule)}"
    cause = "policy-drops" if rule.is_policy else "rule-rejects" if result.reject else "rule-drops"
    if result.unserved is not None:
        cause, verb = (
            "queue-unserved",
            f"hands it to queue {result.unserved}, where nobody listens: the kernel drops",
        )
    return trail.step(
        "hook", key, "block", f"{base.hook}: the {what} {verb} it",
        Because(kind="rule", namespace=key, text=describe(rule)),
        device=packet.in_device or packet.out_device, packet=str(packet), cause=cause,
        facts={**rule_facts(rule, base.hook), **packet_facts(packet), "reject": result.reject, "policy": base.chain.policy},
    )  # fmt: skip


def doubtful(trail: Trail, key: NamespaceId, base: BaseChain, result: ChainResult, packet: Packet) -> Step:
    """The rule that may drop it, and why nobody can tell."""
    deadly = [doubt for doubt in result.doubts if doubt.verdict != "accept"] or list(result.doubts)
    rule = deadly[0].rule if deadly else result.rule
    why = deadly[0].why if deadly else "a queue decides"
    queue = f"queue {result.queue}" if result.verdict == "queue" else ""
    return trail.step(
        "hook", key, "unknown", f"{base.hook}: {chain_name(rule)} may drop it: {why or queue}",
        Because(kind="rule", namespace=key, text=describe(rule)),
        device=packet.in_device or packet.out_device, packet=str(packet),
        cause="rule-drops" if not rule.is_policy else "policy-drops",
        facts={
            **rule_facts(rule, base.hook), **packet_facts(packet), "why": why, "policy": base.chain.policy,
            "verdict": deadly[0].verdict if deadly else "", "otherwise": result.otherwise,
        },
    )  # fmt: skip


def passed(trail: Trail, key: NamespaceId, base: BaseChain, result: ChainResult, packet: Packet) -> Step:
    """What let it pass, and what was changed of it."""
    asked = result.notrack or result.zone is not None
    rule = result.matched[-1] if asked and result.matched else result.rule
    by = f"policy of {chain_name(rule)}" if rule.is_policy else f"rule {rule.line} of {chain_name(rule)}"
    changes = _changes(packet, result.packet)
    return trail.step(
        "hook", key, "pass", f"{base.hook}: accepted by the {by}{changes}",
        *(Because(kind="rule", namespace=key, text=describe(one)) for one in (*result.matched, rule)[-4:]),
        device=packet.in_device or packet.out_device, packet=str(result.packet), facts=rule_facts(rule, base.hook),
    )  # fmt: skip


def _changes(before: Packet, after: Packet) -> str:
    found = []
    if before.mark != after.mark:
        found.append(f"mark 0x{after.mark:x}")
    if before.ttl != after.ttl:
        found.append(f"ttl {after.ttl}")
    return f", sets {', '.join(found)}" if found else ""


def chain_name(rule: RuleRef) -> str:
    if rule.backend == "nft":
        return f"{rule.family} {rule.table} {rule.chain}"
    return f"{rule.table} {rule.chain}" if rule.table != "filter" else rule.chain


def describe(rule: RuleRef) -> str:
    handle = f" # handle {rule.handle}" if rule.handle and rule.backend == "nft" else ""
    place = f"{rule.family} {rule.table}" if rule.backend == "nft" else f"{rule.table}"
    where = f"{rule.backend} {place} {rule.chain}" + (f" rule {rule.line}" if rule.line else " policy")
    return f"{where}: {rule.text}{handle}"


def rule_facts(rule: RuleRef, hook: str) -> dict[str, str]:
    return {
        "backend": rule.backend, "family": rule.family, "table": rule.table, "chain": rule.chain,
        "line": str(rule.line), "handle": str(rule.handle), "rule": rule.text, "hook": hook, "comment": rule.comment,
        "path": rule.path, "jumps": " ".join(str(line) for _, line in rule.jumps),
    }  # fmt: skip


def packet_facts(packet: Packet) -> dict[str, str]:
    return {
        "source": packet.source, "destination": packet.destination, "in_device": packet.in_device,
        "out_device": packet.out_device, "protocol": str(packet.protocol), "port": str(packet.destination_port),
        "packet_family": str(packet.family), "ether_type": hex(packet.ether_type),
        "ct_state": packet.conntrack.state if packet.conntrack else "",
        "ct_direction": packet.conntrack.direction if packet.conntrack else "",
    }  # fmt: skip
