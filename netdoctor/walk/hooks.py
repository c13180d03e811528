"""A packet through one netfilter hook of one namespace: chains by priority, conntrack and NAT between them."""

from msgspec.structs import replace

from netdoctor.model.snapshot import NamespaceId, Need
from netdoctor.model.unknown import Unknown
from netdoctor.walk import connections as tracking
from netdoctor.walk.connections import Connection, Connections
from netdoctor.walk.hook_facts import facts_of
from netdoctor.walk.hook_order import order_doubt, same_place
from netdoctor.walk.hook_steps import blocked, doubtful, passed
from netdoctor.walk.nat import bind
from netdoctor.walk.netfilter import NAT_PRIORITY, Assumption, BaseChain, ChainResult, HookFacts, base_chains, evaluate
from netdoctor.walk.packet import Packet
from netdoctor.walk.tracking import track
from netdoctor.walk.trail import Trail
from netdoctor.walk.view import View
from netdoctor.walk.worlds import FORK, World

CONNTRACK_PRIORITY = -200
FIRST, LAST = -(1 << 31), (1 << 31) - 1
"""NF_IP_PRI_FIRST, NF_IP_PRI_LAST."""
IP_ETHER_TYPES = (0x0800, 0x86DD)
TRACKING_HOOKS = ("prerouting", "output")
SOURCE_HOOKS = ("input", "postrouting")


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
                packet, track_here = track(self.view, self.connections, trail, key, packet, wanted), False
            if not nat_done and (base.is_nat or base.priority > NAT_PRIORITY[hook]):
                packet, nat_done = self._nat(trail, key, hook, packet, nats), True
            if not base.is_nat:
                before, packet = packet, self._through(trail, key, base, packet, wanted)
                if hook == "output" and base.reroutes and _asks_anew(before, packet):
                    self.rerouted = packet
        if track_here:
            packet = track(self.view, self.connections, trail, key, packet, wanted)
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
            step = blocked(trail, key, *doubt.drop)
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
            trail.dies(blocked(trail, key, base, result, packet))
        if result.verdict != "accept":
            trail.add(doubtful(trail, key, base, result, packet))
        elif result.matched or not result.rule.is_policy:
            trail.add(passed(trail, key, base, result, packet))
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
            self._facts[key] = facts_of(self.view, key, self.world)
        return self._facts[key]

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
                    trail.dies(blocked(trail, key, base, result, packet))
                if result.verdict == "unknown":
                    trail.add(doubtful(trail, key, base, result, packet))
                packet = self._remembered(key, result)
                if result.binding is not None:
                    bind(self.view, trail, key, hook, result, packet, connection)
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


def _asks_anew(before: Packet, after: Packet) -> bool:
    """nf_route_table_hook4 and ipt_mangle_out: these changes have a packet of one's own routed again."""
    same = (before.source, before.destination, before.mark) == (after.source, after.destination, after.mark)
    return not same or (before.tos != after.tos if after.family == 4 else before.ttl != after.ttl)
