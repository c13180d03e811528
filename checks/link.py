"""Are the interfaces on the way up, connected, and switched through?

Container, cable (veth), bridge and tunnel: the first things that a frame needs.
"""

from typing import Final

from netdoctor.checks import ground
from netdoctor.checks.ownership import owner_of_device
from netdoctor.model.change import Change, DeleteFdbEntry, SetBridge, SetBridgePort, SetLink
from netdoctor.model.diagnosis import Cause
from netdoctor.model.journey import Step
from netdoctor.model.snapshot import Snapshot
from netdoctor.model.unknown import Unknown

ID: Final = "link"
LAYER: Final = "link"
KINDS = ("device", "carrier", "bridge", "encapsulation")
CAUSES = {
    "link-down": "An interface on the way is administratively down: frames to it and from it are dropped, and its routes are "
    "gone. Verify: `ip link show dev IFACE` lacks UP. Fix: `ip link set IFACE up`, then put back routes that went with it. "
    "False alarm: none when the packet's way leads through it.",
    "carrier-missing": "The cable's other end does not exist or cannot be seen: the interface has no carrier. "
    "Verify: `ip link` shows NO-CARRIER. Fix: recreate the pair; what made the container does that.",
    "macvlan-host-isolation": "By design a macvlan never exchanges packets with its parent interface's own stack. Fix: give the host a "
    "macvlan of its own on the same parent and route to the container by it, or ask for another address.",
    "macvlan-mode": "macvlans on one parent talk to each other directly only when both are in mode bridge.",
    "interface-missing": "The namespace has no interface but lo: the runtime never gave it one, or it was moved or deleted. "
    "Verify: `ip link` inside. Fix: recreate the container's network; nothing here tells what it was.",
    "peer-in-wrong-namespace": "The other end of the container's cable was moved into a namespace that leads nowhere (a wrong "
    "`ip link set ... netns`): moving strips its addresses and sets it down. Verify: `ip link` inside shows link-netns. Fix: move it "
    "back, give it its address, set it up.",
    "bridge-port-missing": "The host's end of the cable is no port of the bridge its siblings are on, so answers sent to the "
    "bridge never reach it. Verify: `ip link show master BRIDGE`. Fix: `ip link set IFACE master BRIDGE`.",
    "bridge-port-blocked": "The bridge port is not in state forwarding: spanning tree holds it, or somebody set it. "
    "Verify: `bridge link show dev IFACE`. Fix: `bridge link set dev IFACE state 3`, or switch STP off on a container bridge.",
    "bridge-port-isolated": "Both ports are isolated: the bridge passes nothing between them, by `bridge link set isolated on`. "
    "Verify: `bridge -d link`. Fix: switch isolation off on one of them. It may be meant (private VLAN).",
    "bridge-port-locked": "The port is locked (802.1X, MAB) and the sender's MAC is not in the forwarding database. "
    "Verify: `bridge -d link`, `bridge fdb`. Fix: `bridge link set dev IFACE locked off`, or authenticate the MAC.",
    "bridge-port-no-flood": "The port neither learns nor floods, and no entry tells where the MAC is. "
    "Verify: `bridge -d link show dev IFACE`. Fix: switch learning or flooding on.",
    "bridge-port-no-pvid": "The bridge filters VLANs and the port has no PVID: untagged frames die. "
    "Verify: `bridge vlan show`. Fix: `bridge vlan add dev IFACE vid N pvid untagged`.",
    "fdb-wrong-port": "A static forwarding entry pins the MAC to a port that does not lead to it. Verify: `bridge fdb show br BRIDGE`. "
    "Fix: delete the entry; the bridge learns the right port.",
    "mac-duplicate": "A container has the MAC of the bridge itself or of another container on it (cloned image, fixed MAC): the bridge "
    "takes frames for it as its own, or sends them to whichever spoke last. Verify: `bridge fdb show`, `ip link` on both. Fix: another MAC for the container.",
    "address-on-bridge-port": "An interface that was put into a bridge still has its addresses and routes; what comes in by it, the "
    "bridge takes. Verify: `ip -d link show dev IFACE` says master. Fix: take it out, or move its addresses to the bridge.",
    "hairpin-off": "The packet must go back out of the port it came in by, and hairpin mode is off there. "
    "Verify: `bridge -d link`. Fix: `bridge link set dev IFACE hairpin on`.",
    "vxlan-mismatch": "The tunnel's two ends disagree about the network identifier (VNI) or the UDP port: each drops the other's "
    "packets. Verify: `ip -d link show type vxlan` on both. Fix: recreate one end with the other's numbers.",
    "vxlan-no-other-end": "The machine at the tunnel's remote address has no vxlan device.",
    "vxlan-remote-dead": "The tunnel's remote address is not any machine's. Verify: `bridge fdb show dev VXLAN`.",
}

PORT_OPTIONS = {
    "bridge-port-blocked": ("state", 3),
    "bridge-port-isolated": ("isolated", 0),
    "bridge-port-locked": ("locked", 0),
    "hairpin-off": ("hairpin", 1),
}


def cause(step: Step, snapshot: Snapshot) -> Cause:
    """The fault of an interface, a bridge port or a tunnel, told with its repair."""
    device = step.facts.get("link", step.device)
    owner = owner_of_device(device) or owner_of_device(step.facts.get("bridge", ""))
    return Cause(
        slug=step.cause,
        layer=LAYER,
        namespace=step.namespace,
        object=_object(step, device),
        summary=step.summary,
        expected=_expected(step, device),
        observed=step.because[0].text if step.because else step.summary,
        evidence=ground.evidence(step),
        changes=_changes(step, snapshot, device),
        advice=_advice(step),
        owner=owner,
        reverts="NetworkManager or systemd-networkd may take the interface over again"
        if step.cause == "link-down"
        else "",
    )


def _object(step: Step, device: str) -> str:
    if step.kind == "bridge":
        return f"port {device} of bridge {step.facts.get('bridge', '')}".strip()
    if step.kind == "encapsulation":
        return f"vxlan {device}"
    return f"interface {device}" if device else "interfaces"


def _expected(step: Step, device: str) -> str:
    return {
        "link-down": f"{device} up",
        "bridge-port-blocked": f"port {device} forwarding",
        "interface-missing": "an interface that leads out",
        "vxlan-mismatch": "the same VNI and UDP port at both ends",
    }.get(step.cause, "")


def _changes(step: Step, snapshot: Snapshot, device: str) -> tuple[Change, ...]:
    if step.cause == "link-down":
        return (SetLink(namespace=step.namespace, link=device, up=True),)
    if step.cause == "bridge-port-missing":
        return (SetLink(namespace=step.namespace, link=device, master=step.facts["bridge"]),)
    if step.cause == "fdb-wrong-port":
        return _unpin(step, snapshot)
    if step.cause == "address-on-bridge-port":
        return (SetLink(namespace=step.namespace, link=device, master=""),)
    if step.cause == "bridge-port-blocked" and step.facts.get("stp"):
        bridge = step.facts["bridge"]
        forward = SetBridgePort(namespace=step.namespace, link=device, option="state", value=3)
        return (SetBridge(namespace=step.namespace, link=bridge, option="stp_state", value=0), forward)
    if step.cause == "bridge-port-no-flood":
        wanted = step.facts["option"]
        extra = (
            (SetBridgePort(namespace=step.namespace, link=device, option="learning", value=1),)
            if wanted == "flood"
            else ()
        )
        return (*extra, SetBridgePort(namespace=step.namespace, link=device, option=wanted, value=1))
    if step.cause in PORT_OPTIONS:
        option, value = PORT_OPTIONS[step.cause]
        return (SetBridgePort(namespace=step.namespace, link=device, option=option, value=value),)
    return ()


def _unpin(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    namespace = ground.namespace(snapshot, step.namespace)
    port = ground.link(snapshot, step.namespace, step.facts["link"])
    if namespace is None or port is None or isinstance(namespace.fdb, Unknown):
        return ()
    entry = next((one for one in namespace.fdb if one.index == port.index and one.mac == step.facts["mac"]), None)
    return (DeleteFdbEntry(namespace=step.namespace, link=port.name, entry=entry),) if entry else ()


def _advice(step: Step) -> tuple[str, ...]:
    if step.cause in ("interface-missing", "carrier-missing"):
        return ("recreate the container's network (restart the container): nothing here tells what it had before",)
    if step.cause == "peer-in-wrong-namespace":
        return (step.facts["advice"],)
    if step.cause == "macvlan-host-isolation":
        return (
            "add a macvlan of the host's own beside it (ip link add mvhost link PARENT type macvlan mode bridge) and route by it",
        )
    if step.cause == "macvlan-mode":
        return ("recreate both macvlans in mode bridge",)
    if step.cause == "mac-duplicate":
        return ("give the container's interface a MAC of its own",)
    if step.kind == "encapsulation":
        return (
            "compare `ip -d link show type vxlan` and `bridge fdb show` on both machines, and recreate the end that is wrong",
        )
    return ()
