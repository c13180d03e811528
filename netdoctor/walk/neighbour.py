"""Next hop -> MAC, as ARP and neighbour discovery would find it (net/ipv4/arp.c, net/ipv6/ndisc.c, net/core/neighbour.c)."""

from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from msgspec.structs import replace

from netdoctor.model.journey import Because, Step
from netdoctor.model.network import Link, Neighbour
from netdoctor.model.snapshot import NamespaceId
from netdoctor.model.unknown import Unknown
from netdoctor.walk.addressing import BROADCAST_MAC, network_of
from netdoctor.walk.bridging import Diverted
from netdoctor.walk.filters import LIMIT, Filters
from netdoctor.walk.layer2 import End, Frame, Spread, link_text
from netdoctor.walk.packet import ICMP6, Packet
from netdoctor.walk.route_text import route_text
from netdoctor.walk.routing import Query, lookup
from netdoctor.walk.source_address import select_source
from netdoctor.walk.trail import Dead, Left, Trail
from netdoctor.walk.validation import martian, query_for, refuse_source
from netdoctor.walk.view import CannotTell, View

USABLE = ("permanent", "noarp", "reachable", "stale", "delay", "probe")
ETHER_ARP = 0x0806
PATIENT_CENTISECONDS = 300
ARP_REQUEST, ARP_REPLY = 1, 2
SOLICITATION, ADVERTISEMENT = 135, 136


class Hop(NamedTuple):
    """Where the packet goes next: a stack and the points on the way there; end None when it cannot be seen."""

    end: End | None
    mac: str
    text: str


class Resolver:
    """Finds the next stack for a packet that leaves `key` by `link` towards `next_hop`."""

    def __init__(self, view: View, filters: Filters) -> None:
        self.view = view
        self.filters = filters

    def resolve(
        self, trail: Trail, key: NamespaceId, link: Link, next_hop: str, packet: Packet, facts: dict[str, str]
    ) -> Hop:
        """The next stack. Raises Dead when the frame surely cannot get there, Left when it goes out of sight."""
        hop = self._found(trail, key, link, next_hop, packet, facts)
        if hop.end is not None and hop.mac:
            twin = self._twin(hop.end)
            if twin is not None:
                trail.add(self._doubled(trail, hop.end, *twin))
        return hop

    def _found(
        self, trail: Trail, key: NamespaceId, link: Link, next_hop: str, packet: Packet, facts: dict[str, str]
    ) -> Hop:
        if (
            link.loopback
            or link.kind in ("tun", "wireguard", "dummy")
            or link.hardware not in (1, 772)
            or link.point_to_point
        ):
            return self._without_neighbour(trail, key, link)
        if link.no_arp:
            return self._no_arp(trail, key, link, next_hop)
        entry = self._entry(key, link, next_hop)
        if entry is not None and entry.state in USABLE and entry.mac:
            hop = self._by_entry(trail, key, link, entry, packet, facts)
            if hop is not None:
                return hop
        return self._ask(trail, key, link, next_hop, packet, facts)

    def _twin(self, end: End) -> tuple[NamespaceId, Link] | None:
        """Another interface with the end's MAC on a bridge that the frame crosses: who spoke last gets the frames."""
        crossed = {(point.namespace, point.device) for point in end.points if point.kind == "bridge"}
        if not crossed:
            return None
        for there, namespace in self.view.snapshot.namespaces.items():
            for one in namespace.links if not isinstance(namespace.links, Unknown) else ():
                other = one.mac == end.link.mac and (there, one.index) != (end.namespace, end.link.index)
                if other and one.up and one.kind == "veth" and self._bridge_behind(there, one) in crossed:
                    return there, one
        return None

    def _bridge_behind(self, there: NamespaceId, link: Link) -> tuple[NamespaceId, str] | None:
        """The bridge that the other end of this cable is a port of."""
        found = self.view.peer(there, link)
        if isinstance(found, Unknown) or found is None:
            return None
        place, port = found
        return (place, self.view.device_name(place, port.master)) if port.master and port.port else None

    def _doubled(self, trail: Trail, end: End, there: NamespaceId, twin: Link) -> Step:
        bridge = next(point.device for point in end.points if point.kind == "bridge")
        text = (
            f"{end.link.name} in {self.view.name(end.namespace)} and {twin.name} in {self.view.name(there)} have the same MAC "
            f"{twin.mac} on bridge {bridge}: it sends their frames to whichever spoke last"
        )
        return trail.step(
            "bridge", there, "unknown", text, Because(kind="link", namespace=there, text=link_text(twin)), device=twin.name,
            cause="mac-duplicate", facts={"link": twin.name, "bridge": bridge, "mac": twin.mac},
        )  # fmt: skip

    def _entry(self, key: NamespaceId, link: Link, next_hop: str) -> Neighbour | None:
        found = (
            one
            for one in self.view.neighbours(key)
            if one.index == link.index and one.address == next_hop and not one.proxy
        )
        return next(found, None)

    def _without_neighbour(self, trail: Trail, key: NamespaceId, link: Link) -> Hop:
        spread = Spread(self.view, trail, Frame(link.mac, link.mac))
        end = next(spread.ends(key, link), None)
        if end is None:
            self._stop(trail, key, link, spread)
        return Hop(end, "", f"{link.name} needs no neighbour")

    def _no_arp(self, trail: Trail, key: NamespaceId, link: Link, next_hop: str) -> Hop:
        """arp_constructor: on IFF_NOARP every neighbour has the device's own MAC, which nobody else takes."""
        spread = Spread(self.view, trail, Frame(link.mac, link.mac))
        end = next(spread.ends(key, link), None)
        if end is not None:
            return Hop(end, link.mac, f"{link.name} does no ARP")
        if any(one.cause != "mac-duplicate" for one in spread.obstacles):
            self._stop(trail, key, link, spread)
        trail.dies(
            trail.step(
                "neighbour",
                key,
                "block",
                f"{link.name} has ARP switched off (NOARP): it cannot find {next_hop}",
                Because(kind="link", namespace=key, text=f"{link.name}: <NOARP>"),
                device=link.name,
                cause="arp-off",
                facts={"link": link.name, "next_hop": next_hop},
            )  # fmt: skip
        )

    def _by_entry(
        self, trail: Trail, key: NamespaceId, link: Link, entry: Neighbour, packet: Packet, facts: dict[str, str]
    ) -> Hop | None:
        """The kernel has an entry and uses it: right, wrong, or (when not permanent) to be asked again."""
        spread = Spread(self.view, trail, Frame(link.mac, entry.mac))
        end = next(spread.ends(key, link), None)
        text = f"{entry.address} is at {entry.mac} ({entry.state})"
        if end is not None and self._serves(end, entry.address):
            return Hop(end, entry.mac, text)
        owner = self._quiet_owner(key, link, entry.address, packet)
        if owner is not None and owner.link.mac != entry.mac:
            if entry.state in ("permanent", "noarp"):
                self._wrong_mac(trail, key, link, entry, owner.link.mac, owner)
            trail.add(self._stale(trail, key, link, entry, owner))
            return Hop(owner, owner.link.mac, f"{entry.address} is at {owner.link.mac}, once {entry.mac} is forgotten")
        if end is not None:
            return Hop(end, entry.mac, text)
        if spread.unseen:
            self._stop(trail, key, link, spread)
        if entry.state == "permanent" and not spread.obstacles:
            self._wrong_mac(trail, key, link, entry, "", None)
        if entry.state == "permanent":
            self._stop(trail, key, link, spread)
        return None

    def _serves(self, end: End, address: str) -> bool:
        """True when the stack at the end has the address (or routes for it by proxy)."""
        return bool(self.view.local_addresses(end.namespace, address)) or self._proxies(end, address)

    def _proxies(self, end: End, address: str) -> bool:
        if ":" in address:
            return any(one.proxy and one.address == address for one in self.view.neighbours(end.namespace))
        return self.view.conf_or(end.namespace, end.link.name, "proxy_arp")

    def _quiet_owner(self, key: NamespaceId, link: Link, address: str, packet: Packet) -> End | None:
        """Who would answer a request for the address, if anybody; nothing goes on the trail."""
        quiet = Trail()
        try:
            return self._ask(quiet, key, link, address, packet, {}).end
        except (Dead, Left):
            return None

    def _wrong_mac(
        self, trail: Trail, key: NamespaceId, link: Link, entry: Neighbour, right: str, owner: End | None
    ) -> None:
        rest = f", but {entry.address} has {right}" if right else ", which no interface there has"
        text = f"{self.view.name(key)} sends packets for {entry.address} to {entry.mac}{rest}"
        facts = self._entry_facts(link, entry, right, owner)
        because = Because(kind="neighbour", namespace=key, text=facts["entry"])
        trail.dies(
            trail.step(
                "neighbour", key, "block", text, because, device=link.name, cause="neighbour-wrong-mac", facts=facts
            )
        )

    def _stale(self, trail: Trail, key: NamespaceId, link: Link, entry: Neighbour, owner: End) -> Step:
        """A learned entry that is out of date: the kernel finds out after some seconds of silence, so it is a doubt."""
        facts = self._entry_facts(link, entry, owner.link.mac, owner)
        text = (
            f"{self.view.name(key)} still sends packets for {entry.address} to {entry.mac}, but it has {owner.link.mac}"
        )
        because = Because(kind="neighbour", namespace=key, text=facts["entry"])
        return trail.step(
            "neighbour", key, "unknown", text, because, device=link.name, cause="neighbour-stale-mac", facts=facts
        )

    def _entry_facts(self, link: Link, entry: Neighbour, right: str, owner: End | None) -> dict[str, str]:
        return {
            "link": link.name, "address": entry.address, "mac": entry.mac, "right": right, "state": entry.state,
            "owner": self.view.name(owner.namespace) if owner else "", "entry": neighbour_text(link, entry),
        }  # fmt: skip

    def _ask(
        self, trail: Trail, key: NamespaceId, link: Link, next_hop: str, packet: Packet, facts: dict[str, str]
    ) -> Hop:
        """A broadcast request (ARP) or a solicitation (ND): the first stack that answers, and whose answer comes back."""
        family = 6 if ":" in next_hop else 4
        self._check_solicits(trail, key, link, next_hop, family)
        request = self._request(key, link, next_hop, packet, family)
        destination = BROADCAST_MAC if family == 4 else _solicited_mac(next_hop)
        spread = Spread(self.view, trail, Frame(link.mac, destination, multicast=family == 6))
        refusals: list[Step] = []
        for end in spread.ends(key, link):
            refusal = self._answers(trail, key, link, end, next_hop, request)
            if refusal is None:
                return Hop(
                    self._unicast(trail, key, link, end, next_hop),
                    end.link.mac,
                    f"{next_hop} is at {end.link.mac} ({end.link.name} in {self.view.name(end.namespace)} answers)",
                )
            if refusal.cause:
                refusals.append(refusal)
        self._nobody(trail, key, link, next_hop, spread, refusals, facts)

    def _unicast(self, trail: Trail, key: NamespaceId, link: Link, end: End, next_hop: str) -> End:
        """The same stack by frames to its own MAC: flags and pinned entries may stop those though requests are flooded."""
        spread = Spread(self.view, trail, Frame(link.mac, end.link.mac))
        found = next((one for one in spread.ends(key, link) if one.namespace == end.namespace), None)
        if found is None:
            self._stop(trail, key, link, spread, next_hop)
        return found

    def _check_solicits(self, trail: Trail, key: NamespaceId, link: Link, next_hop: str, family: int) -> None:
        ip = "ipv4" if family == 4 else "ipv6"
        path = f"net/{ip}/neigh/{link.name}/mcast_solicit"
        if self.view.number(key, path, 3) > 0:
            return
        trail.dies(
            trail.step(
                "neighbour",
                key,
                "block",
                f"{link.name} never asks for {next_hop}: {path.replace('/', '.')} is 0",
                Because(kind="sysctl", namespace=key, text=f"{path.replace('/', '.')} = 0"),
                device=link.name,
                cause="solicit-off",
                facts={"link": link.name, "sysctl": path, "next_hop": next_hop, "wanted": "3"},
            )  # fmt: skip
        )

    def _request(self, key: NamespaceId, link: Link, next_hop: str, packet: Packet, family: int) -> Packet:
        """The request on the wire; its sender address as arp_solicit chooses it."""
        source = packet.source
        if not source or not self.view.local_addresses(key, source):
            source = select_source(self.view, key, family, link.index, next_hop, None, "link")
        return Packet(
            family=4 if family == 4 else 6,
            source=source,
            destination=next_hop,
            protocol=0 if family == 4 else ICMP6,
            icmp_type=0 if family == 4 else SOLICITATION,
            ether_type=ETHER_ARP if family == 4 else 0x86DD,
            arp_operation=ARP_REQUEST if family == 4 else 0,
            source_mac=link.mac,
            destination_mac=BROADCAST_MAC if family == 4 else _solicited_mac(next_hop),
            length_bytes=28 if family == 4 else 72,
            ttl=255,
        )

    def _answers(
        self, trail: Trail, key: NamespaceId, link: Link, end: End, next_hop: str, request: Packet
    ) -> Step | None:
        """None when the stack at `end` answers and the answer gets back; else the step that says why not.

        A step without a cause is a stack that simply has nothing to do with the address.
        """
        silent = trail.step("neighbour", end.namespace, "pass", "not its address")
        if (end.namespace, end.link.index) == (key, link.index):
            return silent
        refusal = (
            self._owns4(trail, end, next_hop, request)
            if request.family == 4
            else self._owns6(trail, end, next_hop, request)
        )
        if refusal is not None:
            return refusal
        if end.link.no_arp:
            return self._deaf(trail, end, next_hop)
        quiet = Trail(trail.direction)
        try:
            request = self._output_filter(quiet, key, link, request)
            request = self.filters.pass_points(quiet, end.points, request)
            self._input_filter(quiet, end, request)
            self._way_back(quiet, key, link, end, request)
        except Dead as dead:
            return dead.step
        except Diverted as diverted:
            raise CannotTell(f"a rule turns {diverted} away", diverted.point.namespace, link.name) from None
        for step in quiet.steps:
            if step.outcome == "unknown" and LIMIT not in step.facts:
                trail.add(step)
        return None

    def _deaf(self, trail: Trail, end: End, next_hop: str) -> Step:
        """arp_rcv hears nothing on IFF_NOARP, and ndisc_send_na's answer goes to the device's own MAC (ndisc_constructor)."""
        name = end.link.name
        text = (
            f"{name} in {self.view.name(end.namespace)} has {next_hop} and ARP switched off (NOARP): it does not answer"
        )
        return trail.step(
            "neighbour", end.namespace, "block", text,
            Because(kind="link", namespace=end.namespace, text=f"{name}: <NOARP>"), device=name, cause="arp-off",
            facts={"link": name, "next_hop": next_hop},
        )  # fmt: skip

    def _output_filter(self, quiet: Trail, key: NamespaceId, link: Link, packet: Packet) -> Packet:
        """arp output hook (arp_xmit); for ND the ip6 output and postrouting hooks (ndisc_send_skb)."""
        leaving = replace(packet, in_device="", out_device=link.name)
        if packet.family == 4:
            return self.filters.firewall.frame(quiet, key, "arp", "output", leaving)
        leaving = self.filters.firewall.run(quiet, key, "output", leaving)
        return self.filters.firewall.run(quiet, key, "postrouting", leaving)

    def _input_filter(self, quiet: Trail, end: End, request: Packet) -> None:
        """arp input hook; for ND the ip6 prerouting and input hooks, the first in the bridge if br_netfilter is on."""
        arriving = replace(request, in_device=end.link.name, out_device="")
        if request.family == 4:
            self.filters.firewall.frame(quiet, end.namespace, "arp", "input", arriving)
        else:
            if not arriving.in_port:
                arriving = self.filters.firewall.run(quiet, end.namespace, "prerouting", arriving)
            self.filters.firewall.run(quiet, end.namespace, "input", arriving)

    def _way_back(self, quiet: Trail, key: NamespaceId, link: Link, end: End, request: Packet) -> None:
        """The answer's frame must find the asker; its hooks must let it in."""
        spread = Spread(self.view, quiet, Frame(end.link.mac, link.mac))
        takers: list[End] = []
        back = next((one for one in _noted(spread.ends(end.namespace, end.link), takers) if one.namespace == key), None)
        if back is not None and back.link.index != link.index:
            raise Dead(self._enslaved(quiet, key, link, back.link))
        if back is None:
            if spread.obstacles:
                raise Dead(spread.obstacles[0])
            if takers and not spread.unseen:
                raise Dead(self._taken(quiet, key, link, takers[0]))
            return
        answer = replace(
            request, source=request.destination, destination=request.source, source_mac=end.link.mac,
            destination_mac=link.mac, in_device="", mark=0, conntrack=None, in_port="", out_port="", arp_operation=ARP_REPLY if request.family == 4 else 0,
            icmp_type=ADVERTISEMENT if request.family == 6 else 0,
        )  # fmt: skip
        answer = self._output_filter(quiet, end.namespace, end.link, answer)
        answer = self.filters.pass_points(quiet, back.points, answer)
        self._input_filter(quiet, back, answer)

    def _taken(self, quiet: Trail, key: NamespaceId, link: Link, taker: End) -> Step:
        """The answer goes to another who has the asker's MAC."""
        where, name = self.view.name(taker.namespace), taker.link.name
        return quiet.step(
            "bridge", taker.namespace, "block",
            f"{name} in {where} has the MAC {link.mac} of {link.name} in {self.view.name(key)} and takes the answers to it",
            Because(kind="link", namespace=taker.namespace, text=link_text(taker.link)), device=name, cause="mac-duplicate",
            facts={"link": name, "bridge": name if taker.link.kind == "bridge" else "", "mac": link.mac},
        )  # fmt: skip

    def _enslaved(self, quiet: Trail, key: NamespaceId, link: Link, bridge: Link) -> Step:
        """An interface with addresses that is a bridge's port: what comes back to it, the bridge takes."""
        return quiet.step(
            "bridge", key, "block",
            f"{link.name} in {self.view.name(key)} has an address and is a port of {bridge.name}: answers go to the bridge",
            Because(kind="link", namespace=key, text=link_text(link)), device=link.name, cause="address-on-bridge-port",
            facts={"link": link.name, "bridge": bridge.name},
        )  # fmt: skip

    def _owns4(self, trail: Trail, end: End, next_hop: str, request: Packet) -> Step | None:
        """arp_process: the address must be local (and arp_ignore, arp_filter agree) or proxied; the asker believable."""
        key, device = end.namespace, end.link.name
        owns = bool(self.view.local_addresses(key, next_hop))
        proxied = any(
            one.proxy and one.address == next_hop and one.index == end.link.index for one in self.view.neighbours(key)
        )
        found = lookup(self.view, key, query_for(request, device))
        facts = {"link": device, "address": next_hop, "asker": request.source}
        because = Because(kind="address", namespace=key, text=f"{next_hop} in {self.view.name(key)}")
        if owns and request.source and (refused := self._disbelieves(key, device, request, found.type)):
            return trail.step(
                "source-validation" if refused == "rp-filter" else "address-owner", key, "block",
                f"{self.view.name(key)} does not answer ARP for {next_hop}: it takes the asker {request.source} for "
                + ("one that it would reach by another interface" if refused == "rp-filter" else "itself"),
                because, device=device, cause="rp-filter-drops" if refused == "rp-filter" else "duplicate-address",
                facts={**facts, "source": request.source, **self._rp_facts(key, device)},
            )  # fmt: skip
        if found.type == "local":
            return self._arp_policy(trail, end, next_hop, request, owns)
        if owns:
            return trail.step(
                "route", key, "block", f"{self.view.name(key)} has {next_hop} but routes it as {found.type}", because,
                device=device, cause="own-address-not-local", facts=facts,
            )  # fmt: skip
        if found.type == "unicast" and found.hop and found.hop.index != end.link.index and self._forwards(key, device):
            if self.view.conf_or(key, device, "proxy_arp") or proxied:
                return self._proxied_late(trail, end, next_hop)
            gateway = found.route and route_text(self.view, key, found.route)
            return trail.step("neighbour", key, "pass", f"not its address (it would route it: {gateway})")
        return trail.step("neighbour", key, "pass", "not its address")

    def _proxied_late(self, trail: Trail, end: End, next_hop: str) -> Step | None:
        """pneigh_enqueue: a proxied answer waits a random time up to proxy_delay, longer than anybody asks."""
        path = f"net/ipv4/neigh/{end.link.name}/proxy_delay"
        delay = self.view.number(end.namespace, path, 80)
        if delay <= PATIENT_CENTISECONDS:
            return None
        text = f"{self.view.name(end.namespace)} answers ARP for {next_hop} only after up to {delay / 100:.0f} s: {path.replace('/', '.')} is {delay}"
        return trail.step(
            "neighbour", end.namespace, "block", text,
            Because(kind="sysctl", namespace=end.namespace, text=f"{path.replace('/', '.')} = {delay}"), device=end.link.name,
            cause="proxy-arp-late", facts={"link": end.link.name, "address": next_hop, "sysctl": path, "value": str(delay), "wanted": "80"},
        )  # fmt: skip

    def _forwards(self, key: NamespaceId, device: str) -> bool:
        return self.view.conf(key, 4, device, "forwarding") == 1

    def _rp_facts(self, key: NamespaceId, device: str) -> dict[str, str]:
        both = {name: self.view.conf(key, 4, name, "rp_filter") for name in ("all", device)}
        worst = "all" if both["all"] >= both[device] else device
        return {"sysctl": f"net/ipv4/conf/{worst}/rp_filter", "value": str(both[worst])}

    def _disbelieves(self, key: NamespaceId, device: str, request: Packet, kind: str) -> str:
        if martian(self.view, key, device, request):
            return "own-address"
        refusal = refuse_source(self.view, key, device, request, "" if kind == "local" else device)
        if refusal is None:
            return ""
        return "rp-filter" if refusal.cause == "rp-filter" else "own-address"

    def _arp_policy(self, trail: Trail, end: End, next_hop: str, request: Packet, owns: bool) -> Step | None:
        """arp_ignore and arp_filter of the answering interface."""
        key, device = end.namespace, end.link.name
        ignore = self.view.conf_max(key, device, "arp_ignore")
        here = [one for one in self.view.local_addresses(key, next_hop) if one.index == end.link.index]
        subnet = any(
            network_of(one.local, one.prefix_length) == network_of(request.source, one.prefix_length)
            for one in here
            if request.source
        )
        ignored = (ignore == 1 and not here) or (ignore == 2 and not (here and subnet)) or ignore in (4, 5, 6, 7, 8)
        ignored = ignored or (
            ignore == 3 and any(one.scope == "host" for one in self.view.local_addresses(key, next_hop))
        )
        if ignored and owns:
            return self._arp_step(trail, end, next_hop, "arp_ignore", ignore, "arp-ignore")
        if self.view.conf_or(key, device, "arp_filter"):
            back = lookup(self.view, key, Query(4, next_hop, request.source))
            if back.hop is None or back.hop.index != end.link.index:
                return self._arp_step(trail, end, next_hop, "arp_filter", 1, "arp-filter")
        return None

    def _arp_step(self, trail: Trail, end: End, next_hop: str, option: str, value: int, cause: str) -> Step:
        key, device = end.namespace, end.link.name
        where = "all" if self.view.conf(key, 4, "all", option) >= value else device
        path = f"net/ipv4/conf/{where}/{option}"
        return trail.step(
            "neighbour", key, "block",
            f"{self.view.name(key)} has {next_hop} but does not answer ARP for it on {device}: {path.replace('/', '.')} is {value}",
            Because(kind="sysctl", namespace=key, text=f"{path.replace('/', '.')} = {value}"), device=device, cause=cause,
            facts={"link": device, "address": next_hop, "sysctl": path, "value": str(value), "wanted": "0"},
        )  # fmt: skip

    def _owns6(self, trail: Trail, end: End, next_hop: str, request: Packet) -> Step | None:
        """ndisc_recv_ns: the target must be on that interface and not tentative, or proxied there."""
        key = end.namespace
        here = [one for one in self.view.local_addresses(key, next_hop) if one.index == end.link.index]
        if here:
            bad = [
                flag
                for flag in ("tentative", "dadfailed")
                if flag in here[0].flags and "optimistic" not in here[0].flags
            ]
            if not bad:
                return None
            return trail.step(
                "source-address", key, "block", f"{next_hop} on {end.link.name} in {self.view.name(key)} is {bad[-1]}: it is not used",
                Because(kind="address", namespace=key, text=f"{next_hop} {' '.join(here[0].flags)}"),
                device=end.link.name, cause="address-dad-failed", facts={"link": end.link.name, "address": next_hop, "flag": bad[-1]},
            )  # fmt: skip
        proxied = any(
            one.proxy and one.address == next_hop and one.index == end.link.index for one in self.view.neighbours(key)
        )
        if proxied and self.view.conf(key, 6, end.link.name, "proxy_ndp"):
            return None
        return trail.step("neighbour", key, "pass", "not its address")

    def _nobody(
        self,
        trail: Trail,
        key: NamespaceId,
        link: Link,
        next_hop: str,
        spread: Spread,
        refusals: list[Step],
        facts: dict[str, str],
    ) -> NoReturn:
        """Nobody answered: the reason nearest to the truth. Raises Dead or Left."""
        if refusals:
            trail.dies(refusals[0])
        if spread.obstacles and not spread.unseen:
            trail.dies(_nearest(spread.obstacles))
        if spread.unseen:
            self._stop(trail, key, link, spread, next_hop)
        trail.dies(
            trail.step(
                "address-owner",
                key,
                "block",
                f"nobody on {link.name} has {next_hop}",
                Because(kind="neighbour", namespace=key, text=f"{next_hop} dev {link.name} FAILED"),
                device=link.name,
                cause="next-hop-unowned",
                facts={"link": link.name, "next_hop": next_hop, **facts},
            )  # fmt: skip
        )

    def _stop(self, trail: Trail, key: NamespaceId, link: Link, spread: Spread, next_hop: str = "") -> NoReturn:
        """The frame gets nowhere that can be seen. Raises Dead on a sure obstacle, Left out of sight."""
        if spread.unseen:
            for obstacle in spread.obstacles:
                if obstacle.kind == "encapsulation":
                    trail.add(_doubted(obstacle))
            place, device, why = spread.unseen[0]
            trail.leaves(
                trail.step(
                    "device",
                    place,
                    "pass",
                    f"it leaves by {device}: {why} is out of sight",
                    device=device,
                    facts={"link": device, "next_hop": next_hop, "left": "1"},
                )  # fmt: skip
            )
        if spread.obstacles:
            trail.dies(_nearest(spread.obstacles))
        strangers = ", ".join(f"{end.link.name} ({end.link.mac})" for end in spread.strangers[:3])
        trail.dies(
            trail.step(
                "neighbour",
                key,
                "block",
                f"no interface takes frames for {spread.frame.destination}: there is {strangers or 'none'}",
                device=link.name,
                cause="neighbour-wrong-mac",
                facts={"link": link.name, "mac": spread.frame.destination, "address": next_hop, "state": "unknown"},
            )  # fmt: skip
        )


def _noted(ends: Iterator[End], into: list[End]) -> Iterator[End]:
    """The same ends, each noted when it has been looked at."""
    for end in ends:
        into.append(end)
        yield end


def _doubted(step: Step) -> Step:
    """A tunnel's end that cannot be seen may be there all the same."""
    return replace(step, outcome="unknown")


def _nearest(obstacles: list[Step]) -> Step:
    """Of several dead ends the one most likely on the way: not another container's port."""
    ranks = {"bridge": 1, "encapsulation": 1}
    return min(obstacles, key=lambda step: ranks.get(step.kind, 0) if len(obstacles) > 1 else 0)


def _solicited_mac(address: str) -> str:
    """33:33:ff and the low 24 bits of the address (RFC 4291 2.7.1, RFC 2464 7)."""
    from netdoctor.walk.addressing import number

    low = number(address) & 0xFFFFFF
    return f"33:33:ff:{low >> 16:02x}:{low >> 8 & 0xFF:02x}:{low & 0xFF:02x}"


def neighbour_text(link: Link, entry: Neighbour) -> str:
    """The entry as `ip neigh` prints it."""
    return f"{entry.address} dev {link.name} lladdr {entry.mac} {entry.state.upper()}"
