"""A packet through one netfilter hook of one namespace: chains by priority, conntrack and NAT between them."""

from msgspec.structs import replace

from netdoctor.model.journey import Because, Step
from netdoctor.model.network import Socket
from netdoctor.model.snapshot import NamespaceId, Need
from netdoctor.model.unknown import Unknown
from netdoctor.walk import connections as tracking
from netdoctor.walk.connections import Connection, Connections
from netdoctor.walk.delivery import takes
from netdoctor.walk.hook_order import order_doubt, same_place
from netdoctor.walk.netfilter import (
    NAT_PRIORITY,
    TEMPLATE,
    Assumption,
    BaseChain,
    Binding,
    ChainResult,
    HookFacts,
    RuleRef,
    base_chains,
    evaluate,
)
from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, ConntrackView, Packet
from netdoctor.walk.routing import Query, address_type, lookup
from netdoctor.walk.source_address import select_source
from netdoctor.walk.trail import Trail
from netdoctor.walk.validity import UNTRACKED_ICMP6, begins
from netdoctor.walk.view import View
from netdoctor.walk.worlds import FORK, World

CONNTRACK_PRIORITY = -200
FIRST, LAST = -(1 << 31), (1 << 31) - 1
"""NF_IP_PRI_FIRST, NF_IP_PRI_LAST."""
IP_ETHER_TYPES = (0x0800, 0x86DD)
FEW_PORTS = 64
TRACKING_HOOKS = ("prerouting", "output")
SOURCE_HOOKS = ("input", "postrouting")
LOOSE = "net/netfilter/nf_conntrack_tcp_loose"
TIMEOUTS = {
    ICMP: ("net/netfilter/nf_conntrack_icmp_timeout",),
    ICMP6: ("net/netfilter/nf_conntrack_icmpv6_timeout",),
    UDP: ("net/netfilter/nf_conntrack_udp_timeout",),
    TCP: ("net/netfilter/nf_conntrack_tcp_timeout_syn_sent",),
}


class Firewall:
    """The hooks of every namespace on the way, with the connections they track."""

    def __init__(self, view: View, connections: Connections, world: World | None = None) -> None:
        self.view = view
        self.connections = connections
        self.world = world
        self.rerouted: Packet | None = None
        """After the output hook: the packet as it was when a rule last had it routed again (ip_route_me_harder)."""
        self._facts: dict[NamespaceId, HookFacts] = {}

    def run(self, trail: Trail, key: NamespaceId, hook: str, packet: Packet) -> Packet:
        """The packet as it comes out of the hook, its steps on the trail. Raises Dead where a rule drops it."""
        family = "ip" if packet.family == 4 else "ip6"
        self.view.tables(key)
        chains = list(base_chains(self.view.namespace(key).ruleset, family, hook))  # type: ignore[arg-type]
        nats = [one for one in chains if one.is_nat]
        self.rerouted = None
        track_here, nat_done = hook in TRACKING_HOOKS, hook not in NAT_PRIORITY
        wanted: dict[str, object] = {"notrack": False, "zone": 0}
        for place in range(len(chains)):
            packet = self._in_doubtful_order(trail, key, chains, place, packet)
            base = chains[place]
            if track_here and base.priority >= CONNTRACK_PRIORITY:
                packet, track_here = self._track(trail, key, packet, wanted), False
            if not nat_done and (base.is_nat or base.priority > NAT_PRIORITY[hook]):
                packet, nat_done = self._nat(trail, key, hook, packet, nats), True
            if not base.is_nat:
                before, packet = packet, self._through(trail, key, base, packet, wanted)
                if hook == "output" and base.reroutes and _asks_anew(before, packet):
                    self.rerouted = packet
        if track_here:
            packet = self._track(trail, key, packet, wanted)
        if not nat_done:
            packet = self._nat(trail, key, hook, packet, nats)
        if hook in SOURCE_HOOKS:
            packet = self._confirmed(key, packet)
        return packet

    def frame(
        self, trail: Trail, key: NamespaceId, family: str, hook: str, packet: Packet, device: str = "",
        first: int = FIRST, last: int = LAST,
    ) -> Packet:  # fmt: skip
        """The frame as it comes out of a bridge, netdev or arp hook. Raises Dead where a rule drops it.

        device: whose ingress or egress it is. first, last: only chains with a priority from one to the other.
        """
        self.view.tables(key)
        everything = base_chains(self.view.namespace(key).ruleset, family, hook, device)  # type: ignore[arg-type]
        ip = packet.ether_type in IP_ETHER_TYPES
        chains = [base for base in everything if first <= base.priority <= last and (ip or base.table.family != "inet")]
        for place in range(len(chains)):
            packet = self._in_doubtful_order(trail, key, chains, place, packet)
            base = chains[place]
            packet = self._through(trail, key, base, packet, {})
        return packet

    def _in_doubtful_order(
        self, trail: Trail, key: NamespaceId, chains: list[BaseChain], place: int, packet: Packet
    ) -> Packet:
        """The packet, with doubts where the chain and its neighbours of the same priority come to different ends by turns.

        `chains` is put in an order that lets it pass then: what may drop it is on the trail.
        """
        beside = same_place(chains, chains[place])
        if not beside:
            return packet
        facts = self.facts(key)

        def evaluated(one: BaseChain, at: Packet) -> ChainResult:
            result = evaluate(one, at, facts)
            self._lack(key, result)
            return result

        doubt = order_doubt(beside, packet, evaluated)
        if doubt is None:
            return packet
        if doubt.drop is not None:
            step = self._blocked(trail, key, *doubt.drop)
            summary = f"{step.summary.replace(' drops it', ' may drop it')}: {doubt.why}"
            trail.add(replace(step, outcome="unknown", summary=summary, facts={**step.facts, "why": doubt.why}))
            places = [number for number, one in enumerate(chains) if any(one is other for other in beside)]
            for number, one in zip(places, doubt.order, strict=True):
                chains[number] = one
        return replace(packet, unsure=(*packet.unsure, *((field, doubt.why) for field in doubt.fields)))

    def _through(
        self, trail: Trail, key: NamespaceId, base: BaseChain, packet: Packet, wanted: dict[str, object]
    ) -> Packet:
        result = self._evaluate(trail, key, base, packet)
        if result.verdict == "drop":
            trail.dies(self._blocked(trail, key, base, result, packet))
        if result.verdict != "accept":
            trail.add(self._doubtful(trail, key, base, result, packet))
        elif result.matched or not result.rule.is_policy:
            trail.add(self._passed(trail, key, base, result, packet))
        if result.notrack:
            wanted["notrack"] = result.matched[-1] if result.matched else result.rule
        if result.zone is not None:
            wanted["zone"] = result.zone
        return self._remembered(key, result)

    def _remembered(self, key: NamespaceId, result: ChainResult) -> Packet:
        """The packet; a mark that rules gave its connection stays there, and keys they put into sets stay in them."""
        packet = result.packet
        self.facts(key).touched.update(result.touched)
        found = self._connection(key, packet)
        if found is not None and packet.conntrack is not None:
            found[0].mark = packet.conntrack.mark
        return packet

    def _confirmed(self, key: NamespaceId, packet: Packet) -> Packet:
        """nf_confirm: a flow whose first packet has got through is known from now on."""
        found = self._connection(key, packet)
        if found is None or packet.conntrack is None:
            return packet
        found[0].status.add("confirmed")
        return replace(packet, conntrack=replace(packet.conntrack, status=tuple(sorted(found[0].status))))

    def _evaluate(self, trail: Trail, key: NamespaceId, base: BaseChain, packet: Packet) -> ChainResult:
        """What the chain does; where doubtful rules leave several things open, the one that this world takes."""
        facts = self.facts(key)
        result = evaluate(base, packet, facts)
        self._lack(key, result)
        if result.verdict == "queue":
            result = self._queued(key, result)
        open_ended = result.verdict in ("unknown", "queue") or result.uncertain != dict(packet.unsure)
        if self.world is None or not open_ended:
            return result
        from netdoctor.walk.netfilter import outcomes

        found = outcomes(base, packet, facts)
        if found is None:
            return result
        for way in found:
            self._lack(key, way)
        ways = tuple(way for one in found for way in self._ways_past_a_queue(key, one))
        if len(ways) == 1:
            return ways[0]
        taken, fork = self.world.take(key, base, ways)
        device = packet.in_device or packet.out_device
        trail.add(trail.step("hook", key, "pass", base.hook, device=device, packet=str(packet), facts={FORK: fork}))
        return taken

    def _queued(self, key: NamespaceId, result: ChainResult) -> ChainResult:
        """nf_queue: where nobody listens the packet is dropped, or with bypass passed by; a listener decides."""
        listened = self.view.queues(key)
        assert result.queue is not None
        wanted = range(result.queue, result.queue + result.queues)
        if isinstance(listened, Unknown) or any(number in listened for number in wanted):
            return result
        if result.queue_bypass:
            return replace(result, verdict="accept", otherwise="accept")
        return replace(result, verdict="drop", otherwise="drop", unserved=result.queue)

    def _ways_past_a_queue(self, key: NamespaceId, result: ChainResult) -> tuple[ChainResult, ...]:
        """Both things a program may do with the packet it is given."""
        settled = self._queued(key, result) if result.verdict == "queue" else result
        if settled.verdict != "queue":
            return (settled,)
        why = f"the program that listens on queue {result.queue} decides"
        return tuple(
            replace(
                settled,
                verdict=verdict,
                assumed=(*settled.assumed, Assumption(rule=settled.rule, why=why, met=verdict == "drop")),
            )
            for verdict in ("accept", "drop")
        )

    def _lack(self, key: NamespaceId, result: ChainResult) -> None:
        if result.needs:
            self.view.lack(*(Need(namespace=key, subject=need.subject, key=need.key) for need in result.needs))

    def facts(self, key: NamespaceId) -> HookFacts:
        """What rules may ask of this namespace besides the packet."""
        if key not in self._facts:
            tracked = self.view.namespace(key).conntrack
            self._facts[key] = HookFacts(
                links={link.name: link for link in self.view.links(key)},
                address_type=lambda address, device: address_type(self.view, key, address, device),
                fib_device=lambda address, mark, in_device: self._fib_device(key, address, mark, in_device),
                ipsec=False if not self.view.policies(key) else Unknown("IPsec policies are in use"),
                socket=lambda packet: self._socket(key, packet),
                connections=tracked if isinstance(tracked, Unknown) else tracked.count,
                touched={},
                settled=self.world.settled.get(key, {}) if self.world else {},
            )
        return self._facts[key]

    def _fib_device(self, key: NamespaceId, address: str, mark: int, in_device: str) -> str | Unknown:
        found = lookup(self.view, key, Query(6 if ":" in address else 4, "", address, mark, in_device))
        return self.view.device_name(key, found.hop.index) if found.hop else ""

    def _socket(self, key: NamespaceId, packet: Packet) -> Socket | None:
        """nf_sk_lookup_slow_v4: the socket of this very flow, else one that waits at the address, else at any."""
        name = {TCP: "tcp", UDP: "udp"}.get(packet.protocol)
        if name is None:
            return None
        fits = [one for one in self.view.sockets(key) if one.protocol == name and one.port == packet.destination_port]
        asker = (packet.source, packet.source_port)
        joined = [one for one in fits if (one.remote, one.remote_port) == asker and one.address == packet.destination]
        waiting = [one for one in fits if not one.remote and takes(one.address, one.v6_only, packet)]
        waiting.sort(key=lambda one: one.address != packet.destination)
        return next(iter(joined + waiting), None)

    def _track(self, trail: Trail, key: NamespaceId, packet: Packet, wanted: dict[str, object]) -> Packet:
        """nf_conntrack_in: the packet gets its connection, a new one if it belongs to none."""
        if packet.conntrack is not None and packet.conntrack.state == "untracked":
            rule = wanted["notrack"]
            because = (Because(kind="rule", namespace=key, text=_describe(rule)),) if isinstance(rule, RuleRef) else ()
            facts = _rule_facts(rule, "prerouting") if isinstance(rule, RuleRef) else {}
            if because:
                trail.add(
                    trail.step("conntrack", key, "pass", "not tracked: a rule says notrack", *because, facts=facts)
                )
            return packet
        if packet.conntrack is not None and TEMPLATE not in packet.conntrack.status:
            return packet
        if packet.protocol == ICMP6 and packet.icmp_type in UNTRACKED_ICMP6:
            return replace(packet, conntrack=ConntrackView(state="untracked"))
        if self.connections.related:
            return replace(packet, conntrack=ConntrackView(state="related", direction="reply"))
        zone = wanted["zone"] if isinstance(wanted["zone"], int) else 0
        found = self.connections.find(key, packet, zone)
        if found is None:
            if not begins(packet, loose=self.view.number(key, LOOSE, 1) != 0):
                return replace(packet, conntrack=ConntrackView(state="invalid"))
            self._check_room(trail, key)
            connection = self.connections.begin(key, packet, zone)
            connection.forgotten = self._zero_timeout(key, packet)
            return replace(packet, conntrack=connection.view("original", packet))
        connection, direction = found
        if not connection.goes_on(packet, direction):
            return replace(packet, conntrack=ConntrackView(state="invalid"))
        return replace(packet, conntrack=connection.view(direction, packet))

    def _check_room(self, trail: Trail, key: NamespaceId) -> None:
        table = self.view.namespace(key).conntrack
        if not isinstance(table, Unknown) and table.maximum and table.count >= table.maximum:
            text = f"nf_conntrack_count {table.count} of nf_conntrack_max {table.maximum}"
            trail.dies(
                trail.step(
                    "conntrack",
                    key,
                    "block",
                    f"the connection tracking table is full ({text})",
                    Because(kind="sysctl", namespace=key, text=text),
                    cause="conntrack-table-full",
                    facts={"count": str(table.count), "maximum": str(table.maximum)},
                )  # fmt: skip
            )

    def _zero_timeout(self, key: NamespaceId, packet: Packet) -> str:
        """The sysctl that makes conntrack forget this flow at once, if one does."""
        for path in TIMEOUTS.get(packet.protocol, ()):
            if self.view.number(key, path, 30) <= 0:
                return path
        return ""

    def _connection(self, key: NamespaceId, packet: Packet) -> tuple[Connection, str] | None:
        view = packet.conntrack
        if view is None or view.original is None:
            return None
        for one in self.connections.all_of(key):
            if one.original == view.original and one.zone == view.zone:
                return one, view.direction
        return None

    def _nat(self, trail: Trail, key: NamespaceId, hook: str, packet: Packet, chains: list[BaseChain]) -> Packet:
        """nf_nat_inet_fn: a new flow asks the nat chains once; then every packet of it is rewritten."""
        end = "source" if hook in SOURCE_HOOKS else "destination"
        found = self._connection(key, packet)
        if found is None:
            return packet
        connection, direction = found
        if direction == "original" and end not in connection.bound:
            connection.bound.add(end)
            for base in chains:
                result = self._evaluate(trail, key, base, packet)
                if result.verdict == "drop":
                    trail.dies(self._blocked(trail, key, base, result, packet))
                if result.verdict == "unknown":
                    trail.add(self._doubtful(trail, key, base, result, packet))
                packet = self._remembered(key, result)
                if result.binding is not None:
                    self._bind(trail, key, hook, base, result, packet, connection)
                    break
        changed = tracking.translated(packet, connection, direction, end)
        if changed.destination != packet.destination:
            self.rerouted = changed
        if changed != packet:
            if direction == "reply":
                trail.passed("nat", key, f"translated back: {packet} becomes {changed}", packet=str(changed))
            view = connection.view(direction, changed)
            changed = replace(
                changed, conntrack=replace(view, state=packet.conntrack.state if packet.conntrack else "new")
            )
        return changed

    def _bind(
        self,
        trail: Trail,
        key: NamespaceId,
        hook: str,
        base: BaseChain,
        result: ChainResult,
        packet: Packet,
        connection: Connection,
    ) -> None:
        binding = result.binding
        assert binding is not None
        address = self._new_address(trail, key, hook, binding, packet, result)
        self._doubt_ports(trail, key, hook, result, packet)
        tracking.bind(connection, binding, address)
        direction = "original"
        changed = tracking.translated(packet, connection, direction, binding.manip)
        trail.add(
            trail.step(
                "nat",
                key,
                "pass",
                f"{_verb(binding)}: {packet} becomes {changed}",
                Because(kind="rule", namespace=key, text=_describe(result.rule)),
                device=packet.out_device or packet.in_device,
                packet=str(changed),
                facts=_rule_facts(result.rule, hook),
            )  # fmt: skip
        )

    def _doubt_ports(self, trail: Trail, key: NamespaceId, hook: str, result: ChainResult, packet: Packet) -> None:
        """nf_nat_l4proto_unique_tuple: a source NAT with few ports is used up by as many flows to one destination."""
        binding = result.binding
        if binding is None or binding.manip != "source" or not binding.port_min or packet.protocol not in (TCP, UDP):
            return
        count = binding.port_max - binding.port_min + 1
        if count > FEW_PORTS:
            return
        trail.add(
            trail.step(
                "nat",
                key,
                "unknown",
                f"source NAT has only {count} port{'s' if count > 1 else ''} to give: they may all be in use",
                Because(kind="rule", namespace=key, text=_describe(result.rule)),
                device=packet.out_device,
                packet=str(packet),
                cause="nat-ports-used-up",
                facts={
                    **_rule_facts(result.rule, hook),
                    "original": packet.source,
                    "source": packet.source,
                    "device": packet.out_device,
                },
            )  # fmt: skip
        )

    def _new_address(
        self, trail: Trail, key: NamespaceId, hook: str, binding: Binding, packet: Packet, result: ChainResult
    ) -> str:
        """The address a binding gives: its own, or the device's (nf_nat_masquerade_ipv4, nf_nat_redirect)."""
        if binding.address_min:
            return binding.address_min
        if binding.kind == "masquerade":
            link = self.view.link(key, packet.out_device)
            found = lookup(self.view, key, Query(packet.family, "", packet.destination, packet.mark))
            towards = found.hop.gateway if found.hop and found.hop.gateway else packet.destination
            chosen = select_source(self.view, key, packet.family, link.index if link else 0, towards, None)
            if not chosen:
                trail.dies(
                    trail.step(
                        "nat",
                        key,
                        "block",
                        f"masquerade has no address to use: {packet.out_device} has none",
                        Because(kind="rule", namespace=key, text=_describe(result.rule)),
                        device=packet.out_device,
                        packet=str(packet),
                        cause="masquerade-without-address",
                        facts={**_rule_facts(result.rule, hook), "link": packet.out_device},
                    )  # fmt: skip
                )
            return chosen
        if binding.kind == "redirect":
            return self._redirect_address(key, hook, packet)
        return ""

    def _redirect_address(self, key: NamespaceId, hook: str, packet: Packet) -> str:
        if hook == "output":
            return "127.0.0.1" if packet.family == 4 else "::1"
        link = self.view.link(key, packet.in_device)
        own = [
            one for one in self.view.addresses(key) if link and one.index == link.index and one.family == packet.family
        ]
        return own[0].local if own else ""

    def _blocked(self, trail: Trail, key: NamespaceId, base: BaseChain, result: ChainResult, packet: Packet) -> Step:
        rule = result.rule
        verb = "rejects" if result.reject else "drops"
        what = f"policy of {_chain_name(rule)}" if rule.is_policy else f"rule {rule.line} of {_chain_name(rule)}"
        cause = "policy-drops" if rule.is_policy else "rule-rejects" if result.reject else "rule-drops"
        if result.unserved is not None:
            cause, verb = (
                "queue-unserved",
                f"hands it to queue {result.unserved}, where nobody listens: the kernel drops",
            )
        return trail.step(
            "hook", key, "block", f"{base.hook}: the {what} {verb} it",
            Because(kind="rule", namespace=key, text=_describe(rule)),
            device=packet.in_device or packet.out_device, packet=str(packet), cause=cause,
            facts={**_rule_facts(rule, base.hook), **_packet_facts(packet), "reject": result.reject, "policy": base.chain.policy},
        )  # fmt: skip

    def _doubtful(self, trail: Trail, key: NamespaceId, base: BaseChain, result: ChainResult, packet: Packet) -> Step:
        deadly = [doubt for doubt in result.doubts if doubt.verdict != "accept"] or list(result.doubts)
        rule = deadly[0].rule if deadly else result.rule
        why = deadly[0].why if deadly else "a queue decides"
        queue = f"queue {result.queue}" if result.verdict == "queue" else ""
        return trail.step(
            "hook", key, "unknown", f"{base.hook}: {_chain_name(rule)} may drop it: {why or queue}",
            Because(kind="rule", namespace=key, text=_describe(rule)),
            device=packet.in_device or packet.out_device, packet=str(packet),
            cause="rule-drops" if not rule.is_policy else "policy-drops",
            facts={
                **_rule_facts(rule, base.hook), **_packet_facts(packet), "why": why, "policy": base.chain.policy,
                "verdict": deadly[0].verdict if deadly else "", "otherwise": result.otherwise,
            },
        )  # fmt: skip

    def _passed(self, trail: Trail, key: NamespaceId, base: BaseChain, result: ChainResult, packet: Packet) -> Step:
        asked = result.notrack or result.zone is not None
        rule = result.matched[-1] if asked and result.matched else result.rule
        by = f"policy of {_chain_name(rule)}" if rule.is_policy else f"rule {rule.line} of {_chain_name(rule)}"
        changes = _changes(packet, result.packet)
        return trail.step(
            "hook", key, "pass", f"{base.hook}: accepted by the {by}{changes}",
            *(Because(kind="rule", namespace=key, text=_describe(one)) for one in (*result.matched, rule)[-4:]),
            device=packet.in_device or packet.out_device, packet=str(result.packet), facts=_rule_facts(rule, base.hook),
        )  # fmt: skip


def _asks_anew(before: Packet, after: Packet) -> bool:
    """nf_route_table_hook4 and ipt_mangle_out: these changes have a packet of one's own routed again."""
    same = (before.source, before.destination, before.mark) == (after.source, after.destination, after.mark)
    return not same or (before.tos != after.tos if after.family == 4 else before.ttl != after.ttl)


def _changes(before: Packet, after: Packet) -> str:
    found = []
    if before.mark != after.mark:
        found.append(f"mark 0x{after.mark:x}")
    if before.ttl != after.ttl:
        found.append(f"ttl {after.ttl}")
    return f", sets {', '.join(found)}" if found else ""


def _verb(binding: Binding) -> str:
    return {"snat": "source NAT", "dnat": "destination NAT"}.get(binding.kind, binding.kind)


def _chain_name(rule: RuleRef) -> str:
    if rule.backend == "nft":
        return f"{rule.family} {rule.table} {rule.chain}"
    return f"{rule.table} {rule.chain}" if rule.table != "filter" else rule.chain


def _describe(rule: RuleRef) -> str:
    handle = f" # handle {rule.handle}" if rule.handle and rule.backend == "nft" else ""
    place = f"{rule.family} {rule.table}" if rule.backend == "nft" else f"{rule.table}"
    where = f"{rule.backend} {place} {rule.chain}" + (f" rule {rule.line}" if rule.line else " policy")
    return f"{where}: {rule.text}{handle}"


def _rule_facts(rule: RuleRef, hook: str) -> dict[str, str]:
    return {
        "backend": rule.backend, "family": rule.family, "table": rule.table, "chain": rule.chain,
        "line": str(rule.line), "handle": str(rule.handle), "rule": rule.text, "hook": hook, "comment": rule.comment,
        "path": rule.path, "jumps": " ".join(str(line) for _, line in rule.jumps),
    }  # fmt: skip


def _packet_facts(packet: Packet) -> dict[str, str]:
    return {
        "source": packet.source, "destination": packet.destination, "in_device": packet.in_device,
        "out_device": packet.out_device, "protocol": str(packet.protocol), "port": str(packet.destination_port),
        "packet_family": str(packet.family), "ether_type": hex(packet.ether_type),
        "ct_state": packet.conntrack.state if packet.conntrack else "",
        "ct_direction": packet.conntrack.direction if packet.conntrack else "",
    }  # fmt: skip
