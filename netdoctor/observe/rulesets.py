"""One namespace's rulesets, piece by piece as the walk asks, and all of one state of them.

A live ruleset can change between two pieces. nf_tables counts its changes (its generation): when that has moved, all of
it is read anew; legacy tables are kept as they came, in one moment, and decoded as asked.
"""

import contextlib
import errno
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from msgspec.structs import replace

from netdoctor.model.firewall import Backend, Rule, Ruleset, Set, Table
from netdoctor.model.unknown import UNREAD, Unknown
from netdoctor.netlink.wire import NETLINK_NETFILTER, Interrupted, Reader

from . import nftables
from .nft_sets import elements_of, read_element
from .xtables import Kept, chain_rules

RESTARTS = 5
T = TypeVar("T")


class RulesetReader:
    """To be called in a thread inside the namespace. Sends GET requests only."""

    def __init__(self) -> None:
        self._kept: Kept = {}
        self._generation = 0
        self._restarts = 0
        self._reader: Reader | None = None

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def begin(self) -> Ruleset:
        """Every table without its rules; small legacy tables with them."""
        self._kept.clear()
        found, self._generation = nftables.ruleset_and_generation(self._kept)
        return found

    def chains(self, ruleset: Ruleset, family: str, table: str, chains: tuple[str, ...]) -> Ruleset:
        """With the rules of these nf_tables chains."""
        found = self._steady(lambda reader: nftables.rules_of(reader, family, table, chains), "firewall rules")
        if found is None:
            return self.begin()
        rules = {chain: found if isinstance(found, Unknown) else found.get(chain, ()) for chain in chains}
        return _with_rules(ruleset, "nft", (family, table), rules)

    def legacy_chains(self, ruleset: Ruleset, family: str, table: str, chains: tuple[str, ...]) -> Ruleset:
        """With the rules of these chains of a legacy table, as they were when the ruleset was read."""
        blob = self._kept.get((family, table))
        if blob is None:  # a small table, whose rules came with it
            return ruleset
        rules: dict[str, tuple[Rule, ...] | Unknown] = {chain: chain_rules(blob, chain) for chain in chains}
        return _with_rules(ruleset, "iptables-legacy", (family, table), rules)

    def sets(self, ruleset: Ruleset, family: str, table: str, names: tuple[str, ...]) -> Ruleset:
        """With all elements of these sets."""
        found = self._steady(
            lambda reader: {name: elements_of(reader, family, table, name) for name in names}, "set elements"
        )
        if found is None:
            return self.begin()
        elements = dict.fromkeys(names, found) if isinstance(found, Unknown) else found
        return _with_sets(
            ruleset,
            (family, table),
            lambda one: replace(one, elements=elements[one.name]) if one.name in elements else one,
        )

    def element(self, ruleset: Ruleset, family: str, table: str, name: str, key: str) -> Ruleset:
        """With the kernel's answer to one key."""
        found = self._steady(
            lambda reader: read_element(reader, family, table, name, bytes.fromhex(key)), "set element"
        )
        if found is None:
            return self.begin()

        def answered(one: Set) -> Set:
            return replace(one, answers={**one.answers, key: found}) if one.name == name else one

        return _with_sets(ruleset, (family, table), answered)

    def whole(self, ruleset: Ruleset) -> Ruleset:
        """With every chain and set read; begun anew where it changes meanwhile."""
        while pieces := self._unread(ruleset):
            for piece in pieces:
                restarts = self._restarts
                ruleset = piece(ruleset)
                if self._restarts != restarts:
                    break
        return ruleset

    def _unread(self, ruleset: Ruleset) -> list[Callable[[Ruleset], Ruleset]]:
        """What fills the gaps, a piece for all chains and one for all sets of a table."""
        pieces: list[Callable[[Ruleset], Ruleset]] = []
        for table in () if isinstance(ruleset.tables, Unknown) else ruleset.tables:
            chains = tuple(chain.name for chain in table.chains if chain.rules == UNREAD)
            sets = tuple(one.name for one in table.sets if one.elements == UNREAD)
            read = self.legacy_chains if table.backend == "iptables-legacy" else self.chains
            if chains:
                pieces.append(partial(read, family=table.family, table=table.name, chains=chains))
            if sets:
                pieces.append(partial(self.sets, family=table.family, table=table.name, names=sets))
        return pieces

    def _steady(self, read: Callable[[Reader], T], what: str) -> T | Unknown | None:
        """What `read` gives at the generation the ruleset was read at; None when it has moved: everything is old then."""
        try:
            reader = self._open()
            before = nftables.generation(reader)
            found: T | Unknown | None = None
            if before == self._generation:
                with contextlib.suppress(Interrupted):
                    found = read(reader)
            if found is not None and nftables.generation(reader) == before:
                return found
        except OSError as error:
            denied = error.errno in (errno.EPERM, errno.EACCES)
            return Unknown(f"{what}: {'permission denied' if denied else error.strerror or error}")
        self._restarts += 1
        return None if self._restarts <= RESTARTS else Unknown(nftables.CHANGING)

    def _open(self) -> Reader:
        if self._reader is None:
            self._reader = Reader(NETLINK_NETFILTER)
        return self._reader


def _with_rules(
    ruleset: Ruleset, backend: Backend, place: tuple[str, str], rules: dict[str, tuple[Rule, ...] | Unknown]
) -> Ruleset:
    def filled(table: Table) -> Table:
        chains = (replace(one, rules=rules[one.name]) if one.name in rules else one for one in table.chains)
        return replace(table, chains=tuple(chains))

    return _with_table(ruleset, backend, place, filled)


def _with_sets(ruleset: Ruleset, place: tuple[str, str], change: Callable[[Set], Set]) -> Ruleset:
    return _with_table(
        ruleset, "nft", place, lambda table: replace(table, sets=tuple(change(one) for one in table.sets))
    )


def _with_table(
    ruleset: Ruleset, backend: Backend, place: tuple[str, str], change: Callable[[Table], Table]
) -> Ruleset:
    """backend: nft stands for every table of nf_tables, whoever wrote it."""
    if isinstance(ruleset.tables, Unknown):
        return ruleset
    legacy = backend == "iptables-legacy"
    tables = (
        change(table)
        if (table.family, table.name) == place and (table.backend == "iptables-legacy") == legacy
        else table
        for table in ruleset.tables
    )
    return replace(ruleset, tables=tuple(tables))
