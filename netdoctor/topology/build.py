"""`build(name)`: a container's network as one makes it by hand - namespace, veth, addresses, route, forwarding, NAT."""

import os

import msgspec

from netdoctor.errors import NetdoctorError
from netdoctor.fix import journal as journals
from netdoctor.fix.argv import Argv
from netdoctor.fix.plan import Item, Plan, make_plan
from netdoctor.fix.seen import link_named
from netdoctor.fix.transaction import roll_back, run
from netdoctor.model.change import AddAddress, AddChain, Change, InsertRule, SetLink, SetSysctl
from netdoctor.model.snapshot import Namespace, Snapshot
from netdoctor.netlink.inside import Worker
from netdoctor.observe.observer import Observer
from netdoctor.target import resolve

from . import names, state
from .described import Described, describe, missing
from .outcome import Outcome
from .state import Built, Record
from .structure import make_bridge, make_veth, unmake_link
from .translation import obstacles, unforwarded, untranslated
from .world import egress, look, planned, settle


def build(name: str, *, subnet: str = "", bridge: str = "", dry_run: bool = False) -> Outcome:
    """Makes the network of container `name` on the host this process is in; a second time there is nothing to do.

    Raises NetdoctorError for usage and permission (exit code 2). What fails half way is taken away again: code 1.
    """
    names.check_name(name)
    observer, snapshot = look()
    try:
        host = snapshot.namespaces[snapshot.host]
        built = state.load(host.id, name)
        if built is not None and _stands(built):
            _same_request(built, subnet, bridge)
            return _complete(built, dry_run=dry_run)
        if os.path.exists(names.path_of(name)):
            raise NetdoctorError(f"{name}: there is such a namespace already, and netdoctor did not build it")
        if built is not None:
            state.forget(built)
        taken = tuple(other.wanted.address for other in state.others(host.id, name))
        wanted = describe(name, host, egress(observer, snapshot), subnet=subnet, bridge=bridge, taken=taken)
        if dry_run:
            return _dry_run(observer, snapshot, wanted)
        return _build(host, wanted)
    finally:
        observer.close()


def _stands(built: Built) -> bool:
    try:
        handle = resolve(built.name)
    except NetdoctorError:
        return False
    handle.close()
    return handle.id == built.namespace


def _same_request(built: Built, subnet: str, bridge: str) -> None:
    wanted = built.wanted
    if (subnet and subnet != wanted.subnet) or (bridge != wanted.bridge and bridge):
        where = f" on {wanted.bridge}" if wanted.bridge else ""
        raise NetdoctorError(
            f"{built.name}: stands with {wanted.subnet}{where}; `netdoctor destroy {built.name}` first"
        )


def _changes(snapshot: Snapshot, wanted: Described, container: Namespace) -> tuple[Change, ...]:
    host = snapshot.namespaces[snapshot.host]
    return (*missing(wanted, snapshot, container), *untranslated(host, wanted), *unforwarded(host, wanted))


def _structure(host: Namespace, wanted: Described) -> tuple[Argv, ...]:
    """What makes the namespace and the interfaces, as typed."""
    bridge = wanted.bridge and link_named(host, wanted.bridge) is None
    veth = ("ip", "link", "add", wanted.host_link, "type", "veth")
    return (
        ("ip", "netns", "add", wanted.name),
        *((("ip", "link", "add", wanted.bridge, "address", wanted.bridge_mac, "type", "bridge"),) if bridge else ()),
        (*veth, "peer", "name", wanted.container_link, "netns", wanted.name),
    )


def _dry_run(observer: Observer, snapshot: Snapshot, wanted: Described) -> Outcome:
    host = snapshot.namespaces[snapshot.host]
    commands = _structure(host, wanted)
    snapshot, container = planned(settle(observer, snapshot, wanted), wanted, names.path_of(wanted.name))
    plan = make_plan(_changes(snapshot, wanted, container), snapshot)
    return Outcome(commands=(*commands, *plan.commands), notes=obstacles(host, wanted))


def _build(host: Namespace, wanted: Described) -> Outcome:
    """From nothing: structure, then the plan on what is really there."""
    commands = _structure(host, wanted)
    bridge_made = any(wanted.bridge and command[3] == wanted.bridge for command in commands)
    try:
        note = names.make(wanted.name)
    except PermissionError as error:
        raise NetdoctorError(f"{wanted.name}: {error.strerror}: making namespaces needs root") from error
    handle, home = resolve(wanted.name), resolve("host")
    worker = Worker()
    built = Built(name=wanted.name, host=host.id, namespace=handle.id, wanted=wanted, bridge_made=bridge_made)
    try:
        state.save(built)
        if bridge_made:
            make_bridge(worker, home.fd, wanted.bridge, wanted.bridge_mac)
        make_veth(worker, home.fd, wanted.host_link, handle.fd, wanted.container_link)
        outcome = _complete(built, dry_run=False)
    except (OSError, NetdoctorError) as error:
        _unmake(built, worker, home.fd)
        return Outcome(code=1, notes=(f"{wanted.name}: {error}; undone",))
    except BaseException:
        _unmake(built, worker, home.fd)
        raise
    finally:
        worker.close()
        handle.close()
        home.close()
    if outcome.code:
        return outcome
    return Outcome(commands=(*commands, *outcome.commands), notes=(*((note,) if note else ()), *outcome.notes))


def _unmake(built: Built, worker: Worker, host: int) -> None:
    """Takes the structure away again."""
    unmake_link(worker, host, built.wanted.host_link)
    if built.bridge_made:
        unmake_link(worker, host, built.wanted.bridge)
    names.unmake(built.name)
    state.forget(built)


def _complete(built: Built, *, dry_run: bool) -> Outcome:
    """Adds what is missing of a container that stands, and looks again whether all of it came out."""
    observer, snapshot = look(built.name)
    try:
        snapshot = settle(observer, snapshot, built.wanted)
        container = snapshot.namespaces[built.namespace]
        plan = make_plan(_changes(snapshot, built.wanted, container), snapshot)
        notes = obstacles(snapshot.namespaces[snapshot.host], built.wanted)
        if dry_run or not plan.items:
            return Outcome(commands=plan.commands, notes=notes or (() if plan.items else ("nothing to do",)))
        handles = {key: handle.fd for key, handle in observer.handles.items()}
        journal = journals.start(plan, snapshot.host, {container.id: container.path}, purpose=f"build {built.name}")
        run(plan, handles, journal)
        left = _left(built)
        if left:
            roll_back(journal, handles)
            raise NetdoctorError(
                "did not come out as described, still missing: " + "; ".join(" ".join(c) for c in left)
            )
        _remember(built, plan)
        journals.discard(journal)
        return Outcome(commands=plan.commands, notes=notes)
    finally:
        observer.close()


def _left(built: Built) -> tuple[Argv, ...]:
    """What is still missing on a second look."""
    observer, snapshot = look(built.name)
    try:
        snapshot = settle(observer, snapshot, built.wanted)
        changes = _changes(snapshot, built.wanted, snapshot.namespaces[built.namespace])
        return make_plan(changes, snapshot).commands
    finally:
        observer.close()


def _remember(built: Built, plan: Plan) -> None:
    """Keeps what undoes those changes that do not vanish with the container itself."""
    fresh = [record for item in plan.items if (record := _record(built, item))]
    state.save(msgspec.structs.replace(built, records=(*built.records, *fresh)))


def _record(built: Built, item: Item) -> Record | None:
    change, wanted = item.change, built.wanted
    undo = next((each.change for each in item.undo), None)
    if undo is None or change.namespace != built.host:
        return None
    match change:
        case SetSysctl() | AddChain():
            return Record(scope="host", undo=undo)
        case InsertRule():
            return Record(scope="bridge" if wanted.bridge else "own", undo=undo)
        case AddAddress(link=link) | SetLink(link=link) if link == wanted.bridge and not built.bridge_made:
            return Record(scope="bridge", undo=undo)
        case _:
            return None
