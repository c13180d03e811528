"""`destroy(name)`: takes away exactly what `build(name)` made, and says what it leaves and why."""

import os

import msgspec

from netdoctor.errors import NetdoctorError
from netdoctor.fix import journal as journals
from netdoctor.fix.argv import Argv
from netdoctor.fix.effect import effects
from netdoctor.fix.inverse import mirror
from netdoctor.fix.plan import make_plan
from netdoctor.fix.ruleset_effect import find_chain, find_table, place
from netdoctor.fix.seen import known, link_named, sysctl
from netdoctor.fix.transaction import run
from netdoctor.model.change import Change, DeleteChain, DeleteRule, SetSysctl
from netdoctor.model.firewall import Chain
from netdoctor.model.snapshot import Namespace, Need, Snapshot, chains_subject
from netdoctor.model.unknown import Unknown
from netdoctor.netlink.inside import Worker
from netdoctor.observe.observer import Observer

from . import names, state
from .outcome import Outcome
from .state import Built, Record
from .structure import unmake_link
from .world import look

SCOPES = ("own", "bridge", "host")


def destroy(name: str, *, dry_run: bool = False) -> Outcome:
    """Takes container `name` and its network away. Raises NetdoctorError when netdoctor did not build it (code 2)."""
    names.check_name(name)
    observer, snapshot = look()
    try:
        built = state.load(snapshot.host, name)
        if built is None:
            if os.path.exists(names.path_of(name)):
                raise NetdoctorError(f"{name}: netdoctor did not build it; `ip netns del {name}` takes it away")
            return Outcome(notes=("nothing to do",))
        return _destroy(built, observer, _with_chains(observer, snapshot, built), dry_run=dry_run)
    finally:
        observer.close()


def _with_chains(observer: Observer, snapshot: Snapshot, built: Built) -> Snapshot:
    """The snapshot with the chains read that hold our rules, and all of NAT: others may forward too."""
    records = (getattr(each.undo, "at", None) for each in built.records)
    places = {(chains_subject(at.backend), at.family, at.table, at.chain) for at in records if at}
    for table in known(snapshot.namespaces[snapshot.host].ruleset.tables):
        subject = chains_subject(table.backend)
        places |= {(subject, table.family, table.name, chain.name) for chain in table.chains if chain.type == "nat"}
    unread = [Need(namespace=snapshot.host, subject=place[0], key=place[1:]) for place in sorted(places)]
    return observer.answer(snapshot, unread)


def _destroy(built: Built, observer: Observer, snapshot: Snapshot, *, dry_run: bool) -> Outcome:
    siblings = tuple(state.others(built.host, built.name))
    on_bridge = tuple(each for each in siblings if built.wanted.bridge and each.wanted.bridge == built.wanted.bridge)
    ours = [each for each in built.records if not _goes_on(each, siblings, on_bridge)]
    changes, notes = _undoing(ours, snapshot, built)
    bridge = built.bridge_made and not on_bridge
    plan = make_plan(changes, snapshot)
    host = snapshot.namespaces[snapshot.host]
    commands = (*plan.commands, *_structure(built, host, bridge=bridge))
    if dry_run:
        return Outcome(commands=commands, notes=notes)
    handles = {key: handle.fd for key, handle in observer.handles.items()}
    if plan.items:
        journal = journals.start(plan, snapshot.host, {}, purpose=f"destroy {built.name}")
        try:
            run(plan, handles, journal)
        except NetdoctorError as error:
            return Outcome(code=1, notes=(f"{error}; undone, {built.name} stands as before",))
        journals.discard(journal)
    _hand_over(built, siblings, on_bridge)
    worker = Worker()
    try:
        unmake_link(worker, handles[built.host], built.wanted.host_link)
        if bridge:
            unmake_link(worker, handles[built.host], built.wanted.bridge)
        names.unmake(built.name)
    finally:
        worker.close()
    state.forget(built)
    return Outcome(commands=commands, notes=notes)


def _goes_on(record: Record, siblings: tuple[Built, ...], on_bridge: tuple[Built, ...]) -> bool:
    """True when others still need what this record would undo."""
    return bool(siblings) if record.scope == "host" else bool(on_bridge) if record.scope == "bridge" else False


def _hand_over(built: Built, siblings: tuple[Built, ...], on_bridge: tuple[Built, ...]) -> None:
    """What is shared is remembered by a container that stays."""
    for scope, heirs in (("host", siblings), ("bridge", on_bridge)):
        left = tuple(each for each in built.records if each.scope == scope)
        if heirs and (left or (scope == "bridge" and built.bridge_made)):
            heir = state.load(heirs[0].host, heirs[0].name) or heirs[0]
            made = heir.bridge_made or (scope == "bridge" and built.bridge_made)
            state.save(msgspec.structs.replace(heir, records=(*heir.records, *left), bridge_made=made))


def _structure(built: Built, host: Namespace, *, bridge: bool) -> tuple[Argv, ...]:
    wanted = built.wanted
    found = [("ip", "link", "del", wanted.host_link)] if link_named(host, wanted.host_link) else []
    if bridge and link_named(host, wanted.bridge):
        found.append(("ip", "link", "del", wanted.bridge))
    if os.path.exists(names.path_of(built.name)):
        found.append(("ip", "netns", "del", built.name))
    return tuple(found)


def _undoing(records: list[Record], snapshot: Snapshot, built: Built) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """The changes that still make sense and notes on those that do not: own ones, then shared ones, last made first."""
    changes: list[Change] = []
    notes: list[str] = []
    for record in _last_made_first(records):
        host = effects(changes, snapshot).namespaces[snapshot.host]
        undo, why = _still_sensible(record.undo, host, built)
        if undo is not None:
            changes.append(undo)
        if why:
            notes.append(why)
    return tuple(changes), tuple(notes)


def _last_made_first(records: list[Record]) -> list[Record]:
    """Own rules before what is shared with the bridge, and that before what the whole host shares."""
    return [each for scope in SCOPES for each in reversed(records) if each.scope == scope]


def _still_sensible(undo: Change, host: Namespace, built: Built) -> tuple[Change | None, str]:
    match undo:
        case DeleteRule(at=at, rule=rule):
            chain = find_chain(host, at)
            there = chain is not None and place(known(chain.rules), rule) is not None
            return (undo, "") if there else (None, f"{at.table} {at.chain}: our rule is gone already")
        case DeleteChain(at=at):
            return _chain(undo, find_chain(host, at), host)
        case SetSysctl(key=key, value=value):
            return _forwarding(undo, key, value, host, built)
        case _:
            return (undo, "") if mirror(undo, host) else (None, "")


def _chain(undo: DeleteChain, chain: Chain | None, host: Namespace) -> tuple[Change | None, str]:
    at = undo.at
    table = find_table(host, at)
    if chain is None or table is None:
        return None, ""
    if isinstance(chain.rules, Unknown) or chain.rules:
        return None, f"the chain {at.table} {at.chain} stays: it holds rules of others"
    alone = undo.with_table and len(table.chains) == 1 and not table.sets
    return msgspec.structs.replace(undo, with_table=alone), ""


def _forwarding(undo: SetSysctl, key: str, value: str, host: Namespace, built: Built) -> tuple[Change | None, str]:
    now = sysctl(host, key)
    shown = key.replace("/", ".")
    if now == value:
        return None, ""
    others = _others_that_forward(host, built)
    if others:
        return None, f"{shown} stays {now}: {others} may need it"
    return undo, ""


def _others_that_forward(host: Namespace, built: Built) -> str:
    """What else on this host looks as if packets were forwarded for it; empty when nothing does."""
    wanted = built.wanted
    ours = {"lo", wanted.egress, wanted.host_link, wanted.bridge}
    links = [link.name for link in known(host.links) if link.up and link.name not in ours]
    if links:
        return "the interface " + links[0] if len(links) == 1 else "the interfaces " + ", ".join(links[:4])
    for table in known(host.ruleset.tables):
        for chain in table.chains:
            if chain.type == "nat" and not isinstance(chain.rules, Unknown) and chain.rules:
                return f"{len(chain.rules)} rules in {table.name} {chain.name}"
    return ""
