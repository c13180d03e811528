"""The host and a container read for building: base facts and as much of the ruleset as the container's packets meet."""

from netdoctor.errors import NetdoctorError
from netdoctor.fix.seen import device_name
from netdoctor.model.network import Link
from netdoctor.model.snapshot import Namespace, Provenance, Snapshot
from netdoctor.model.unknown import Unknown
from netdoctor.netlink.wire import NETLINK_ROUTE, attribute, attributes, u32
from netdoctor.observe.observer import Observer
from netdoctor.observe.routes import AF_INET, RTM_GETROUTE, RTMSG
from netdoctor.target import resolve

from .described import Described
from .translation import OUTSIDE, needs

RTA_DST, RTA_OIF = 1, 4
PLANNED = "planned"
PLANNED_INDEX = 1 << 20
MOST_ROUNDS = 64


def look(name: str = "") -> tuple[Observer, Snapshot]:
    """An observer with its first snapshot of the host this process is in and, when named, a container. Close it."""
    host = resolve("host")
    observer = Observer(resolve(name) if name else host, host)
    try:
        snapshot = observer.begin(Provenance())
        tables = snapshot.namespaces[host.id].ruleset.tables
        if isinstance(tables, Unknown):
            raise NetdoctorError(f"the firewall of this host cannot be read: {tables.why}; run netdoctor as root")
    except PermissionError as error:
        observer.close()
        raise NetdoctorError(f"{error.strerror}: run netdoctor as root") from error
    except BaseException:
        observer.close()
        raise
    return observer, snapshot


def settle(observer: Observer, snapshot: Snapshot, wanted: Described) -> Snapshot:
    """The snapshot with every chain and set read that the container's packets meet."""
    for _ in range(MOST_ROUNDS):
        asked = needs(snapshot.namespaces[snapshot.host], wanted)
        if not asked:
            return snapshot
        snapshot = observer.answer(snapshot, asked)
    raise NetdoctorError("the ruleset changes faster than it can be read")


def egress(observer: Observer, snapshot: Snapshot) -> str:
    """The interface by which the kernel would send to the outside. Raises NetdoctorError when there is no route."""
    body = RTMSG.pack(AF_INET, 32, 0, 0, 0, 0, 0, 0, 0) + attribute(RTA_DST, bytes(int(x) for x in OUTSIDE.split(".")))
    try:
        answer = observer.reader(snapshot.host, NETLINK_ROUTE).get(RTM_GETROUTE, body)
    except OSError as error:
        raise NetdoctorError(
            f"this host has no route to {OUTSIDE} ({error.strerror}), so there is no way out to translate to; "
            "give it a default route first"
        ) from error
    found = attributes(answer[12:])
    return device_name(snapshot.namespaces[snapshot.host], u32(found[RTA_OIF]))


def planned(snapshot: Snapshot, wanted: Described, path: str) -> tuple[Snapshot, Namespace]:
    """The snapshot as it would be once the namespace, the veth pair and the bridge were made."""
    from netdoctor.fix.seen import known, link_named, replace

    host = snapshot.namespaces[snapshot.host]
    links = [Link(index=PLANNED_INDEX, name=wanted.host_link, kind="veth", lower=2, lower_namespace=PLANNED_INDEX)]
    if wanted.bridge and link_named(host, wanted.bridge) is None:
        links.append(Link(index=PLANNED_INDEX + 1, name=wanted.bridge, kind="bridge"))
    host = replace(host, links=(*known(host.links), *links), peers={**host.peers, str(PLANNED_INDEX): PLANNED})
    container = Namespace(
        id=PLANNED,
        name=wanted.name,
        path=path,
        links=(
            Link(index=1, name="lo", loopback=True),
            Link(index=2, name=wanted.container_link, kind="veth", lower=PLANNED_INDEX, lower_namespace=0),
        ),
        addresses=(),
        routes=(),
        rules=(),
        neighbours=(),
        peers={"0": host.id},
    )
    namespaces = {**snapshot.namespaces, host.id: host, PLANNED: container}
    return replace(snapshot, namespaces=namespaces), container
