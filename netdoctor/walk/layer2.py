"""Where a frame goes between network stacks: veth, bridges, macvlan, vlan, vxlan, out of sight.

Sources: drivers/net/veth.c, net/bridge/br_input.c and br_forward.c, drivers/net/macvlan.c, drivers/net/vxlan/.
This answers where frames can get to; the filters they meet on the way (points) are asked afterwards, on the way chosen.
"""

from collections.abc import Iterator
from typing import NamedTuple

from netdoctor.model.journey import Because, Step
from netdoctor.model.network import FdbEntry, Link, VxlanOptions
from netdoctor.model.snapshot import NamespaceId, Need
from netdoctor.model.unknown import Unknown
from netdoctor.walk.addressing import BROADCAST_MAC
from netdoctor.walk.trail import Trail
from netdoctor.walk.view import View

MAX_DEPTH = 12
END_OF_SIGHT = {"tun": "the program behind it", "wireguard": "the tunnel's peer", "dummy": "nowhere", "ifb": "a queue"}
PORT_STATES = {0: "disabled", 1: "listening", 2: "learning", 3: "forwarding", 4: "blocking"}


class Point(NamedTuple):
    """A place on the way where filters look at the frame: egress or ingress of a device, a bridge, an underlay."""

    kind: str
    namespace: NamespaceId
    device: str
    in_port: str = ""
    out_port: str = ""
    remote: str = ""
    local: str = ""
    udp_port: int = 0


class End(NamedTuple):
    """A network stack that the frame gets to, by the points in between."""

    namespace: NamespaceId
    link: Link
    points: tuple[Point, ...]


class Frame(NamedTuple):
    """destination: a MAC, or broadcast for ARP and ND requests."""

    source: str
    destination: str
    multicast: bool = False

    @property
    def flooded(self) -> bool:
        return self.destination == BROADCAST_MAC or self.multicast


class Spread:
    """One frame's possible ways. Ends come one by one (stop when one satisfies); obstacles and blind ends are kept."""

    def __init__(self, view: View, trail: Trail, frame: Frame) -> None:
        self.view = view
        self.trail = trail
        self.frame = frame
        self.obstacles: list[Step] = []
        self.unseen: list[tuple[NamespaceId, str, str]] = []
        self.strangers: list[End] = []

    def ends(self, key: NamespaceId, link: Link) -> Iterator[End]:
        """The stacks that take the frame which leaves by this device."""
        yield from self._leave(key, link, (), 0)

    def switched(self, key: NamespaceId, bridge: Link, port: Link) -> Iterator[End]:
        """The stacks that take the frame which this port has let into its bridge."""
        yield from self._switch(key, bridge, port, (), 0)

    def _leave(self, key: NamespaceId, link: Link, points: tuple[Point, ...], depth: int) -> Iterator[End]:
        if depth > MAX_DEPTH:
            return
        if not link.up:
            self._obstacle_down(key, link)
            return
        points = (*points, Point("egress", key, link.name))
        if link.loopback:
            yield End(key, link, points)
        elif link.kind == "veth":
            yield from self._through_veth(key, link, points, depth)
        elif link.kind == "bridge":
            yield from self._switch(key, link, None, points, depth)
        elif link.kind in ("macvlan", "macvtap"):
            yield from self._through_macvlan(key, link, points, depth)
        elif link.kind == "vlan":
            yield from self._through_vlan(key, link, points, depth)
        elif link.kind == "vxlan" and link.vxlan:
            yield from self._through_vxlan(key, link, link.vxlan, points, depth)
        elif not link.carrier:
            self._obstacle_carrier(key, link, "it has no carrier: nothing is plugged in")
        else:
            self.unseen.append((key, link.name, END_OF_SIGHT.get(link.kind, "the wire")))

    def _through_veth(self, key: NamespaceId, link: Link, points: tuple[Point, ...], depth: int) -> Iterator[End]:
        found = self.view.peer(key, link)
        if isinstance(found, Unknown):
            if not link.carrier:
                self._obstacle_carrier(key, link, f"the other end of its cable is down, and {found.why}")
            else:
                self.unseen.append((key, link.name, found.why))
            return
        if found is None:
            self._obstacle_carrier(key, link, "the other end of its cable does not exist")
            return
        there, peer = found
        yield from self._arrive(there, peer, points, depth + 1)

    def _arrive(self, key: NamespaceId, link: Link, points: tuple[Point, ...], depth: int) -> Iterator[End]:
        """A frame comes in by this device: its receive handler decides (br_handle_frame, macvlan_handle_frame)."""
        if not link.up:
            self._obstacle_down(key, link)
            return
        points = (*points, Point("ingress", key, link.name))
        master = self.view.link(key, link.master) if link.master else None
        if master is not None and link.port is not None:
            yield from self._switch(key, master, link, points, depth)
            return
        taken = False
        for there, child in self._children(key, link, ("macvlan", "macvtap")):
            if self._takes(child):
                taken = not self.frame.flooded
                yield from self._arrive(there, child, points, depth + 1)
        if not taken:
            yield from self._accept(key, link, points)

    def _accept(self, key: NamespaceId, link: Link, points: tuple[Point, ...]) -> Iterator[End]:
        end = End(key, link, points)
        if self._takes(link) or link.hardware != 1:
            yield end
        else:
            self.strangers.append(end)

    def _takes(self, link: Link) -> bool:
        return self.frame.flooded or link.mac == self.frame.destination

    def _children(self, key: NamespaceId, lower: Link, kinds: tuple[str, ...]) -> list[tuple[NamespaceId, Link]]:
        """macvlans on a device, wherever they live. The kernel does not list them from below: look at every namespace."""
        found = self._known_children(key, lower, kinds)
        if any(self._takes(link) and not self.frame.flooded for _, link in found) or self._takes_itself(lower):
            return found
        if not self.view.snapshot.surveyed and not self.view.snapshot.complete and self._may_have_children(key, lower):
            self.view.lack(Need(namespace=key, subject="neighbourhood"))
        return found

    def _takes_itself(self, lower: Link) -> bool:
        return not self.frame.flooded and lower.mac == self.frame.destination

    def _may_have_children(self, key: NamespaceId, lower: Link) -> bool:
        """Only a device that some known macvlan stands on is worth the search."""
        return bool(self._known_children(key, lower, ("macvlan", "macvtap")))

    def _known_children(self, key: NamespaceId, lower: Link, kinds: tuple[str, ...]) -> list[tuple[NamespaceId, Link]]:
        found: list[tuple[NamespaceId, Link]] = []
        for there, namespace in self.view.snapshot.namespaces.items():
            if isinstance(namespace.links, Unknown):
                continue
            for link in namespace.links:
                if link.kind in kinds and link.lower == lower.index and self._lower_is_in(there, link, key):
                    found.append((there, link))
        return found

    def _lower_is_in(self, there: NamespaceId, link: Link, key: NamespaceId) -> bool:
        if link.lower_namespace is None:
            return there == key
        return self.view.namespace(there).peers.get(str(link.lower_namespace)) == key or (
            self.view.peer(there, link) is not None
            and self.view.namespace(there).peers.get(str(link.lower_namespace)) == key
        )

    def _through_macvlan(self, key: NamespaceId, link: Link, points: tuple[Point, ...], depth: int) -> Iterator[End]:
        """macvlan_queue_xmit: siblings in bridge mode directly, the rest by the lower device; never the lower's own stack."""
        found = self.view.peer(key, link)
        if isinstance(found, Unknown):
            self.unseen.append((key, link.name, found.why))
            return
        if found is None:
            self._obstacle_carrier(key, link, "the device it stands on does not exist")
            return
        there, lower = found
        if not lower.up:
            self._obstacle_down(there, lower)
            return
        if link.macvlan_mode == "bridge":
            for place, sibling in self._children(there, lower, ("macvlan", "macvtap")):
                if (
                    (place, sibling.index) != (key, link.index)
                    and sibling.macvlan_mode == "bridge"
                    and self._takes(sibling)
                ):
                    yield from self._arrive(place, sibling, points, depth + 1)
        yield from self._leave(there, lower, points, depth + 1)

    def _through_vlan(self, key: NamespaceId, link: Link, points: tuple[Point, ...], depth: int) -> Iterator[End]:
        found = self.view.peer(key, link)
        if isinstance(found, Unknown) or found is None:
            self.unseen.append((key, link.name, found.why if found else "the device under it does not exist"))
            return
        there, lower = found
        for end in self._leave(there, lower, points, depth + 1):
            for child in self.view.links(end.namespace):
                if child.kind == "vlan" and child.vlan_id == link.vlan_id and child.lower == end.link.index:
                    yield from self._arrive(end.namespace, child, end.points, depth + 2)

    def _switch(
        self, key: NamespaceId, bridge: Link, port: Link | None, points: tuple[Point, ...], depth: int
    ) -> Iterator[End]:
        """br_handle_frame_finish and br_dev_xmit: up to the bridge's own stack, to the port that knows the MAC, or to all."""
        if not bridge.up:
            self._obstacle_down(key, bridge)
            return
        if port is not None and not self._may_enter(key, bridge, port):
            return
        own = not self.frame.flooded and self._is_own_mac(key, bridge)
        holder = self._holder(key, bridge) if port is None and own else None
        if port is None and own and holder is None:
            text = f"has the MAC {self.frame.destination} that the bridge takes for its own: frames to it never leave the bridge"
            self._bridge_obstacle(key, bridge, text)
            return
        if port is not None and (self.frame.flooded or own):
            yield from self._accept_by_bridge(key, bridge, port, points)
            if not self.frame.flooded:
                return
        if port is not None and self._echoes(key, bridge, port):
            text = f"has the sender's own MAC {self.frame.source}: the bridge has just learned it at port {port.name}"
            self._bridge_obstacle(key, bridge, text)
            return
        accepted = False
        for out in [holder] if holder else self._ports_in_order(key, bridge):
            if self._may_go_out(key, bridge, port, out):
                crossing = Point("bridge", key, bridge.name, port.name if port else "", out.name)
                for end in self._leave(key, out, (*points, crossing), depth + 1):
                    accepted = True
                    yield end
        pinned = self._pinned(key, bridge)
        if pinned is not None and not accepted:
            self._pinned_obstacle(key, bridge, pinned)

    def _accept_by_bridge(self, key: NamespaceId, bridge: Link, port: Link, points: tuple[Point, ...]) -> Iterator[End]:
        """br_pass_frame_up: then the frame is received once more, by the bridge's own device."""
        crossing = Point("bridge", key, bridge.name, port.name, "")
        yield End(key, bridge, (*points, crossing, Point("ingress", key, bridge.name)))

    def _is_own_mac(self, key: NamespaceId, bridge: Link) -> bool:
        if self.frame.destination == bridge.mac:
            return True
        return any(
            entry.mac == self.frame.destination
            and entry.state == "permanent"
            and bridge.index in (entry.master, entry.index)
            for entry in self.view.fdb(key)
        )

    def _holder(self, key: NamespaceId, bridge: Link) -> Link | None:
        """The port whose own MAC the destination is: br_dev_xmit sends such frames out by it, as to any other entry.

        An entry of the bridge itself leads nowhere (br_forward to no port).
        """
        entries = [one for one in self.view.fdb(key) if one.mac == self.frame.destination and one.state == "permanent"]
        found = next((one for one in entries if one.master == bridge.index and one.index != bridge.index), None)
        return self.view.link(key, found.index) if found is not None else None

    def _echoes(self, key: NamespaceId, bridge: Link, port: Link) -> bool:
        """A frame to the MAC it comes from: br_fdb_update has moved that MAC to this port before the look-up."""
        same = not self.frame.flooded and self.frame.source == self.frame.destination
        learns = port.port is not None and port.port.learning and not port.port.hairpin
        return same and learns and self._pinned(key, bridge) is None

    def _ports_in_order(self, key: NamespaceId, bridge: Link) -> list[Link]:
        """The port that the forwarding database names first, so that big bridges are not searched in vain."""
        ports = [link for link in self.view.links(key) if link.master == bridge.index and link.port]
        pinned = self._pinned(key, bridge)
        if pinned is not None:
            chosen = [link for link in ports if link.index == pinned.index]
            if chosen:
                return chosen
        known = {entry.index for entry in self.view.fdb(key) if entry.mac == self.frame.destination}
        return sorted(ports, key=lambda link: link.index not in known)

    def _pinned(self, key: NamespaceId, bridge: Link) -> FdbEntry | None:
        """An entry that learning cannot move: sticky, or static (br_fdb_update moves only others)."""
        return next(
            (
                entry
                for entry in self.view.fdb(key)
                if entry.mac == self.frame.destination and entry.master == bridge.index and entry.sticky
            ),
            None,
        )

    def _may_enter(self, key: NamespaceId, bridge: Link, port: Link) -> bool:
        """br_handle_frame: port state, and a locked port's source check."""
        options = port.port
        assert options is not None
        if options.state != 3:
            self._port_obstacle(
                key, bridge, port, "bridge-port-blocked", f"is {PORT_STATES[options.state]}, not forwarding"
            )
            return False
        if options.locked and not self._knows(key, port, self.frame.source):
            self._port_obstacle(
                key, bridge, port, "bridge-port-locked", f"is locked and does not know {self.frame.source}"
            )
            return False
        return not self._vlan_refuses(key, bridge, port)

    def _vlan_refuses(self, key: NamespaceId, bridge: Link, port: Link) -> bool:
        options = port.port
        if not bridge.bridge or not bridge.bridge.vlan_filtering or not options or options.pvid:
            return False
        self._port_obstacle(key, bridge, port, "bridge-port-no-pvid", "has no PVID: untagged frames are dropped there")
        return True

    def _may_go_out(self, key: NamespaceId, bridge: Link, port: Link | None, out: Link) -> bool:
        """should_deliver and br_flood: not back where it came from, not between isolated ports, only as the flags allow."""
        options = out.port
        assert options is not None
        if port is not None and out.index == port.index and not options.hairpin:
            if not self.frame.flooded and self._leads_to(key, out):
                self._port_obstacle(
                    key, bridge, out, "hairpin-off", "does not send frames back where they came from (hairpin off)"
                )
            return False
        if not out.up:
            return True
        if options.state != 3:
            self._port_obstacle(
                key, bridge, out, "bridge-port-blocked", f"is {PORT_STATES[options.state]}, not forwarding"
            )
            return False
        if port is not None and port.port and port.port.isolated and options.isolated:
            self._port_obstacle(key, bridge, out, "bridge-port-isolated", f"is isolated, and so is {port.name}")
            return False
        return not self._flood_refuses(key, bridge, out)

    def _flood_refuses(self, key: NamespaceId, bridge: Link, out: Link) -> bool:
        options = out.port
        assert options is not None
        if self.frame.destination == BROADCAST_MAC:
            refused, what = not options.broadcast_flood, "bcast_flood"
        elif self.frame.multicast:
            refused, what = not options.multicast_flood, "mcast_flood"
        else:
            refused, what = (
                not (options.unicast_flood or options.learning or self._knows(key, out, self.frame.destination)),
                "flood",
            )
        if refused:
            self._port_obstacle(
                key, bridge, out, "bridge-port-no-flood",
                f"has {what} off" + (" and learning off, and no forwarding entry" if what == "flood" else ""), option=what,
            )  # fmt: skip
        return refused

    def _knows(self, key: NamespaceId, port: Link, mac: str) -> bool:
        return any(entry.index == port.index and entry.mac == mac for entry in self.view.fdb(key))

    def _leads_to(self, key: NamespaceId, port: Link) -> bool:
        found = self.view.peer(key, port) if port.kind == "veth" else None
        return isinstance(found, tuple) and found[1].mac == self.frame.destination

    def _through_vxlan(
        self, key: NamespaceId, link: Link, options: VxlanOptions, points: tuple[Point, ...], depth: int
    ) -> Iterator[End]:
        """vxlan_xmit: by the forwarding entry of the MAC, else to the default destinations; the outer packet is UDP."""
        for remote, port in self._vxlan_remotes(key, link, options):
            outer = Point("underlay", key, link.name, remote=remote, local=options.local, udp_port=port)
            owner = self._owner(remote, key)
            if owner is None:
                if self.view.snapshot.surveyed or self.view.snapshot.complete:
                    self._tunnel_obstacle(
                        key, link, "vxlan-remote-dead", f"no namespace here has its remote {remote}", remote
                    )
                    self.unseen.append((key, link.name, f"the tunnel's remote end {remote}"))
                    continue
                self.view.lack(Need(namespace=key, subject="neighbourhood"))
            for other in self.view.links(owner):
                if other.kind == "vxlan" and other.vxlan and self._same_tunnel(options, port, other.vxlan):
                    yield from self._arrive(owner, other, (*points, outer), depth + 1)
                    break
            else:
                self._tunnel_mismatch(key, link, options, owner, remote, port)

    def _vxlan_remotes(self, key: NamespaceId, link: Link, options: VxlanOptions) -> list[tuple[str, int]]:
        entries = [entry for entry in self.view.fdb(key) if entry.index == link.index and entry.destination]
        exact = [entry for entry in entries if entry.mac == self.frame.destination]
        chosen = exact or [entry for entry in entries if entry.mac == "00:00:00:00:00:00"]
        found = [(entry.destination, entry.port or options.port) for entry in chosen]
        return found or ([(options.remote, options.port)] if options.remote else [])

    @staticmethod
    def _same_tunnel(mine: VxlanOptions, port: int, theirs: VxlanOptions) -> bool:
        return theirs.vni == mine.vni and theirs.port == port

    def _owner(self, address: str, asking: NamespaceId) -> NamespaceId | None:
        """Which known namespace (not the asking one) has this address."""
        for key, namespace in self.view.snapshot.namespaces.items():
            if key == asking or isinstance(namespace.addresses, Unknown):
                continue
            if any(one.local == address for one in namespace.addresses):
                return key
        return None

    def _tunnel_mismatch(
        self, key: NamespaceId, link: Link, options: VxlanOptions, owner: NamespaceId, remote: str, port: int
    ) -> None:
        others = [other for other in self.view.links(owner) if other.kind == "vxlan" and other.vxlan]
        if not others:
            text = f"the other end {remote} has no vxlan device"
            self._tunnel_obstacle(key, link, "vxlan-no-other-end", text, remote)
            return
        other = others[0].vxlan
        assert other is not None
        what = (
            f"VNI {options.vni} here, {other.vni} there"
            if other.vni != options.vni
            else f"UDP port {port} here, {other.port} there"
        )
        self._tunnel_obstacle(key, link, "vxlan-mismatch", f"does not match the other end {remote}: {what}", remote)

    def _tunnel_obstacle(self, key: NamespaceId, link: Link, cause: str, text: str, remote: str) -> None:
        self.obstacles.append(
            self.trail.step(
                "encapsulation",
                key,
                "block",
                f"vxlan {link.name}: {text}",
                Because(kind="link", namespace=key, text=link_text(link)),
                device=link.name,
                cause=cause,
                facts={"link": link.name, "remote": remote, "vni": str(link.vxlan.vni if link.vxlan else 0)},
            )  # fmt: skip
        )

    def _obstacle_down(self, key: NamespaceId, link: Link) -> None:
        self.obstacles.append(down_step(self.view, self.trail, key, link))

    def _obstacle_carrier(self, key: NamespaceId, link: Link, text: str) -> None:
        self.obstacles.append(
            self.trail.step(
                "carrier",
                key,
                "block",
                f"{link.name}: {text}",
                Because(kind="link", namespace=key, text=link_text(link)),
                device=link.name,
                cause="carrier-missing",
                facts={"link": link.name, "kind": link.kind},
            )  # fmt: skip
        )

    def _pinned_obstacle(self, key: NamespaceId, bridge: Link, entry: FdbEntry) -> None:
        port = self.view.device_name(key, entry.index)
        text = f"{entry.mac} dev {port} master {bridge.name} {entry.state} sticky"
        self.obstacles.append(
            self.trail.step(
                "bridge",
                key,
                "block",
                f"bridge {bridge.name} sends frames for {entry.mac} to port {port} by a static entry, and nobody there has that MAC",
                Because(kind="fdb", namespace=key, text=text),
                device=port,
                cause="fdb-wrong-port",
                facts={"link": port, "bridge": bridge.name, "mac": entry.mac},
            )  # fmt: skip
        )

    def _bridge_obstacle(self, key: NamespaceId, bridge: Link, text: str) -> None:
        self.obstacles.append(
            self.trail.step(
                "bridge",
                key,
                "block",
                f"somebody on bridge {bridge.name} {text}",
                Because(kind="link", namespace=key, text=link_text(bridge)),
                device=bridge.name,
                cause="mac-duplicate",
                facts={"link": bridge.name, "bridge": bridge.name, "mac": self.frame.destination},
            )  # fmt: skip
        )

    def _port_obstacle(
        self, key: NamespaceId, bridge: Link, port: Link, cause: str, text: str, option: str = ""
    ) -> None:
        self.obstacles.append(
            self.trail.step(
                "bridge",
                key,
                "block",
                f"port {port.name} of bridge {bridge.name} {text}",
                Because(kind="bridge-port", namespace=key, text=port_text(port)),
                device=port.name,
                cause=cause,
                facts={
                    "link": port.name,
                    "bridge": bridge.name,
                    "option": option,
                    "stp": "1" if bridge.bridge and bridge.bridge.stp else "",
                    "state": str(port.port.state if port.port else ""),
                },
            )  # fmt: skip
        )


def down_step(view: View, trail: Trail, key: NamespaceId, link: Link) -> Step:
    """The step of a packet that meets an interface which is administratively down."""
    return trail.step(
        "device", key, "block", f"interface {link.name} in {view.name(key)} is down",
        Because(kind="link", namespace=key, text=link_text(link)), device=link.name, cause="link-down",
        facts={"link": link.name, "kind": link.kind},
    )  # fmt: skip


def link_text(link: Link) -> str:
    """The interface as `ip link` prints its first line."""
    flags = [
        name
        for on, name in (
            (link.loopback, "LOOPBACK"), (link.no_arp, "NOARP"), (link.point_to_point, "POINTOPOINT"),
            (link.up, "UP"), (link.up and link.carrier, "LOWER_UP"), (link.up and not link.carrier, "NO-CARRIER"),
        )
        if on
    ]  # fmt: skip
    kind = f" {link.kind}" if link.kind else ""
    master = " enslaved" if link.master else ""
    return f"{link.index}: {link.name}: <{','.join(flags)}> mtu {link.mtu_bytes} state {link.operstate.upper()}{kind}{master} {link.mac}".rstrip()


def port_text(port: Link) -> str:
    """The bridge port as `bridge -d link` prints it."""
    options = port.port
    assert options is not None
    flags = [
        f"{name} {'on' if value else 'off'}"
        for name, value in (
            ("hairpin", options.hairpin), ("learning", options.learning), ("flood", options.unicast_flood),
            ("mcast_flood", options.multicast_flood), ("bcast_flood", options.broadcast_flood),
            ("isolated", options.isolated), ("locked", options.locked),
        )
    ]  # fmt: skip
    return f"{port.name} state {PORT_STATES.get(options.state, options.state)} {' '.join(flags)}"
