"""A Plan: changes in order, each with what a person would type and how it is undone. Pure."""

from collections.abc import Iterable

import msgspec

from netdoctor.model.change import Change
from netdoctor.model.snapshot import Snapshot

from .argv import Argv, typed
from .effect import effect
from .faithful import loss
from .inverse import inverse


class Undo(msgspec.Struct, frozen=True, kw_only=True):
    """One change of an inverse and the commands it stands for."""

    change: Change
    typed: tuple[Argv, ...]


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a plan. `undo` is in the order it runs."""

    change: Change
    typed: tuple[Argv, ...]
    undo: tuple[Undo, ...]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Items in the order they run; they are undone from the last to the first."""

    items: tuple[Item, ...] = ()

    @property
    def commands(self) -> tuple[Argv, ...]:
        return tuple(command for item in self.items for command in item.typed)

    @property
    def undo_commands(self) -> tuple[Argv, ...]:
        return tuple(command for item in reversed(self.items) for each in item.undo for command in each.typed)

    @property
    def losses(self) -> tuple[str, ...]:
        """What an undo could not give back exactly; with any, the plan is disruptive."""
        return tuple(why for item in self.items for each in item.undo if (why := loss(each.change)))

    @property
    def changes(self) -> tuple[Change, ...]:
        return tuple(item.change for item in self.items)


def make_plan(changes: Iterable[Change], snapshot: Snapshot) -> Plan:
    """The plan for `changes` from `snapshot`: every inverse belongs to the state just before its change."""
    items: list[Item] = []
    for change in changes:
        after = effect(change, snapshot)
        undo = (Undo(change=back, typed=typed(back, after)) for back in inverse(change, snapshot))
        items.append(Item(change=change, typed=typed(change, snapshot), undo=tuple(undo)))
        snapshot = after
    return Plan(items=tuple(items))
