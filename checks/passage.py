"""How a packet is let past the rule that stops it: by the narrowest edit, in the place that is meant for it.

A program's rules are never taken away. Where the program leaves a place to the administrator (DOCKER-USER, CNI-ADMIN,
ufw's user rules, a firewalld zone's allow chain) one rule there accepts the traffic; otherwise one rule in front of what
stops it, before the jump into the program's chains. A rule that a person wrote against this very traffic goes.
"""

import re
from itertools import pairwise
from typing import Final, NamedTuple

from msgspec.structs import replace

from netdoctor.checks import ground
from netdoctor.checks.ownership import ADMINISTRATOR, KILL_SWITCH, OWN_CHAINS, owner_of_chain
from netdoctor.model.change import ChainRef, Change, DeleteRule, InsertRule, ReplaceRule
from netdoctor.model.firewall import Chain, Rule, Table
from netdoctor.model.journey import Step
from netdoctor.model.snapshot import Snapshot
from netdoctor.model.unknown import Unknown

END: Final = 1 << 31
GENERAL_WORDS = {"-A", "-j", "DROP", "REJECT", "--reject-with", "counter", "drop", "reject", "packets", "bytes"}
JUMPS = re.compile(r'-A \S+(?: -m comment --comment (?:"[^"]*"|\S+))? -j (\S+)$')
ZONE_PREFIX = {"input": "filter_IN_", "forward": "filter_FWD_"}
ZONE_RULE = re.compile(r'(?:iifname "([^"]+)" )?(?:goto|jump) filter_(?:IN|FWD)_(.+?)(?:_dispatch_stage2)?$')
SHUT_BY_DESIGN = ("kube-proxy", "Calico", "Cilium", "Tailscale")
FRAMES = ("bridge", "arp", "netdev")


class Place(NamedTuple):
    """Where the accepting rule goes, as InsertRule takes it; whose: the program that keeps the place for such rules."""

    at: ChainRef
    line: int
    whose: str = ""


def changes(step: Step, snapshot: Snapshot, owner: str) -> tuple[Change, ...]:
    """The edit that lets the packet past; nothing where the program that stops it does so on purpose."""
    if step.cause == "queue-unserved":
        return _bypass(step, snapshot)
    if owner in SHUT_BY_DESIGN or owner.startswith(f"{KILL_SWITCH} (") or is_internal(step.facts):
        return ()
    if is_locked(step, snapshot):
        return ()
    if _is_against_this(step, snapshot, owner):
        at = ground.chain_ref(step.facts)
        rule = ground.find_rule(snapshot, step.namespace, at, int(step.facts["line"]))
        return (DeleteRule(namespace=step.namespace, at=at, rule=rule),) if rule else ()
    place = place_of(step, snapshot)
    return tuple(
        InsertRule(namespace=step.namespace, at=place.at, rule=_accepting(one, snapshot, place.at), line=place.line)
        for one in (step, *_beside(step, snapshot))
    )


def _beside(step: Step, snapshot: Snapshot) -> tuple[Step, ...]:
    """The same of the way out, where ARP is stopped as a whole: its next hop is only reachable until it has to be asked again."""
    side = {"input": "in_device", "output": "out_device"}.get(step.facts["hook"], "")
    if step.facts.get("family") != "arp" or not side:
        return ()
    defaults = [
        one for one in ground.routes(snapshot, step.namespace) if one.family == 4 and one.destination == "0.0.0.0/0"
    ]
    indexes = {hop.index for one in defaults for hop in one.next_hops}
    names = [one.name for one in ground.links(snapshot, step.namespace) if one.index in indexes]
    return tuple(replace(step, facts={**step.facts, side: name}) for name in names if name != step.facts.get(side))


def _bypass(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    """The queue rule as it is, but passing packets on while no program listens."""
    from netdoctor.walk.netfilter import bypassing

    at = ground.chain_ref(step.facts)
    rule = ground.find_rule(snapshot, step.namespace, at, int(step.facts["line"]))
    after = bypassing(rule) if rule else None
    return (ReplaceRule(namespace=step.namespace, at=at, before=rule, after=after),) if rule and after else ()


def is_locked(step: Step, snapshot: Snapshot) -> bool:
    """True for a table with nf_tables' owner flag: the kernel lets nobody but its maker write (firewalld since 2.1)."""
    table = ground.find_table(snapshot, step.namespace, ground.chain_ref(step.facts))
    return table is not None and table.owned


def is_internal(facts: dict[str, str]) -> bool:
    """Docker's rules around a network made with --internal: "! -d 172.19.0.0/16 -i br-8d04e6b3c9f2 -j DROP"."""
    found = re.search(r"! -[sd] \S+ -[io] \S+ -j DROP$", facts.get("rule", ""))
    return found is not None and facts.get("chain", "").startswith(("DOCKER-ISOLATION", "DOCKER-INTERNAL"))


def _is_against_this(step: Step, snapshot: Snapshot, owner: str) -> bool:
    """A rule (not a policy) that no program keeps writing, that tests something itself and is no list's."""
    facts = step.facts
    if facts.get("line", "0") == "0" or not (owner in ("", "fail2ban", KILL_SWITCH) or owner.startswith(ADMINISTRATOR)):
        return False
    looks_up = re.search(r"--match-set |@(?!__)", facts["rule"]) is not None
    return not looks_up and not _is_catch_all(step, snapshot)


def _is_catch_all(step: Step, snapshot: Snapshot) -> bool:
    """The last rule of a chain that has accepts before it and tests nothing itself: a policy in the form of a rule."""
    facts = step.facts
    chain = ground.find_chain(snapshot, step.namespace, ground.chain_ref(facts))
    rules = _rules(chain)
    if len(rules) < 2 or rules[-1].line != int(facts["line"]):
        return False
    words = [word for word in facts["rule"].split() if word not in GENERAL_WORDS and word != facts["chain"]]
    return all(
        word.startswith(("icmp", "type", "with", "admin", "host", "port", "tcp", "#", "handle")) or word.isdigit()
        for word in words
    )


def _rules(chain: Chain | None) -> tuple[Rule, ...]:
    return () if chain is None or isinstance(chain.rules, Unknown) else chain.rules


def place_of(step: Step, snapshot: Snapshot) -> Place:
    """Where a rule that accepts this packet belongs."""
    at = ground.chain_ref(step.facts)
    table = ground.find_table(snapshot, step.namespace, at)
    passed = positions(step.facts)
    own = table and (_kept_place(table, passed, step.facts["hook"], at) or _zone_place(table, passed, at, step.facts))
    if own:
        return own
    for (chain, line), (inner, _) in pairwise(passed):
        if owner_of_chain(inner):
            return Place(_in(at, chain), line)
    line = int(step.facts["line"])
    return Place(at, line or _before_goto(ground.find_chain(snapshot, step.namespace, at)))


def positions(facts: dict[str, str]) -> list[tuple[str, int]]:
    """Each chain on the way to the deciding rule, with the line of the jump out of it; the last with the rule's own."""
    chains = facts.get("path", facts["chain"]).split(" -> ")
    lines = [int(line) for line in facts.get("jumps", "").split()]
    return list(zip(chains, (*lines, int(facts["line"]) or END), strict=False))


def _in(at: ChainRef, chain: str) -> ChainRef:
    return ChainRef(backend=at.backend, family=at.family, table=at.table, chain=chain)


def _kept_place(table: Table, passed: list[tuple[str, int]], hook: str, at: ChainRef) -> Place | None:
    """A chain for the administrator's rules that the packet came through, or died in."""
    ufw = (f"ufw-user-{hook}", f"ufw6-user-{hook}")
    for name, line in passed:
        if name in OWN_CHAINS or name in ufw:
            return Place(_in(at, name), line if line != END else 0, OWN_CHAINS.get(name, "ufw"))
    for name, limit in passed:
        for inner in _passed_through(table, name, limit, 3):
            if inner in OWN_CHAINS or inner in ufw:
                return Place(_in(at, inner), 0 if inner in ufw else 1, OWN_CHAINS.get(inner, "ufw"))
    return None


def _passed_through(table: Table, name: str, limit: int, depth: int) -> tuple[str, ...]:
    """The chains that rules of this chain before `limit` jump to without a condition, and those they jump to."""
    from netdoctor.walk.netfilter import rule_text

    chain = table.chain(name)
    found: tuple[str, ...] = ()
    for rule in _rules(chain) if table.backend != "nft" and depth else ():
        jump = JUMPS.match(str(rule_text(table, chain, rule))) if chain and rule.line < limit else None
        if jump and table.chain(jump[1]) is not None:
            found += (jump[1], *_passed_through(table, jump[1], END, depth - 1))
    return found


def _zone_place(table: Table, passed: list[tuple[str, int]], at: ChainRef, facts: dict[str, str]) -> Place | None:
    """firewalld: the allow chain of the zone that the packet fell through, where the zone's own permissions stand."""
    if at.table != "firewalld" or facts["hook"] not in ZONE_PREFIX:
        return None
    denied = any(name.endswith(("_pre", "_log", "_deny")) for name, _ in passed)
    zone = zone_of(table, facts["hook"], facts.get("in_device", ""))
    allow = f"{ZONE_PREFIX[facts['hook']]}{zone}_allow"
    return Place(_in(at, allow), 0, "firewalld") if zone and table.chain(allow) and not denied else None


def zone_of(table: Table | None, hook: str, device: str) -> str:
    """The zone that firewalld's dispatch chain sends this interface to: its own, or the default one at the end; "" unread."""
    from netdoctor.walk.netfilter import rule_text

    default = ""
    for name in (f"filter_{hook.upper()}_ZONES", f"filter_{hook.upper()}_dispatch"):
        chain = table.chain(name) if table else None
        for rule in _rules(chain):
            assert table is not None and chain is not None
            found = ZONE_RULE.match(str(rule_text(table, chain, rule)))
            if found and found[1] == device:
                return str(found[2])
            default = found[2] if found and not found[1] else default
    return default


def _before_goto(chain: Chain | None) -> int:
    """The line of the first goto of the chain: what comes after it may never be asked. 0, the end, without one."""
    for rule in _rules(chain):
        if any(getattr(one, "code", "") == "goto" for one in rule.expressions):
            return rule.line
    return 0


def _accepting(step: Step, snapshot: Snapshot, at: ChainRef) -> Rule:
    """A rule that accepts just this traffic: by the interfaces it crosses, answers by their state, lists by address."""
    from netdoctor.walk.netfilter import RuleSpec, compose

    facts = step.facts
    v6 = facts.get("packet_family") == "6"
    answers = facts.get("ct_state") in ("established", "related")
    frame = at.family in FRAMES
    between_ports = at.family == "bridge" and facts["hook"] == "forward"
    whole = () if between_ports else ("bridge", "netdev")
    source, destination = _addresses(step, snapshot)
    spec = RuleSpec(
        verdict="accept",
        in_device=facts.get("in_device", "") if facts["hook"] not in ("output", "ingress", "egress") else "",
        out_device=facts.get("out_device", "") if facts["hook"] not in ("input", "ingress", "egress") else "",
        source=source,
        destination=destination,
        ct_states=("related", "established") if answers and not frame else (),
        ether_type=("arp" if _is_arp(facts) else "ip6" if v6 else "ip") if at.family in whole else "",
    )
    family = at.family if at.family in ("ip", "ip6", "inet", *FRAMES) else "ip6" if v6 else "ip"
    return compose(spec, at.backend, family)


def _addresses(step: Step, snapshot: Snapshot) -> tuple[str, str]:
    """(source, destination) prefixes the rule tests: both ends where a list decides, the subnet where no interface tells."""
    facts = step.facts
    if _is_arp(facts):
        return "", ""
    bits = 128 if facts.get("packet_family") == "6" else 32
    both = (f"{facts['source']}/{bits}", f"{facts['destination']}/{bits}")
    if facts.get("line", "0") != "0" and re.search(r"--match-set |@(?!__)|map ", facts["rule"]):
        return both
    if facts["hook"] not in ("prerouting", "ingress", "egress"):
        return "", ""
    if facts["hook"] == "prerouting" and re.search(r"-d |daddr", facts["rule"]):
        return both
    subnets = tuple(ground.subnet_of(snapshot, facts[side]) for side in ("source", "destination"))
    if subnets[0] != both[0]:
        return subnets[0], ""
    return ("", subnets[1]) if subnets[1] != both[1] else both


def _is_arp(facts: dict[str, str]) -> bool:
    return facts.get("family") == "arp" or facts.get("ether_type") == "0x806"
