"""What one evaluation carries from rule to rule."""

from typing import Literal

import msgspec

from netdoctor.model.firewall import Set
from netdoctor.model.unknown import Unknown
from netdoctor.walk.choices import Choices
from netdoctor.walk.packet import Packet

from .registers import Bits, Registers
from .result import BaseChain, Binding, HookFacts, RulesetNeed, SetKey

Code = Literal["accept", "drop", "queue", "jump", "goto", "return"]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a met rule does with the packet."""

    code: Code
    chain: str = ""
    binding: Binding | None = None
    reject: str = ""
    queue: int | None = None
    queues: int = 1
    bypass: bool = False


class Alternatives(msgspec.Struct, frozen=True, kw_only=True):
    """One of several decisions, or none: a map looked up by a value nobody knows. goes_on: the rule is not over."""

    decisions: tuple[Decision, ...]
    why: str
    goes_on: bool = False


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """Facts to be read first."""

    needs: tuple[RulesetNeed, ...]


Outcome = bool | Unknown | Decision | Alternatives | Pending
"""Of one expression: True goes on to the next, False ends the rule, Unknown goes on in doubt."""


class State:
    """The packet and the side effects so far; changed as rules are met, thrown away with the evaluation.

    choices: where one of several worlds is walked, what is chosen there.
    """

    def __init__(self, base: BaseChain, packet: Packet, facts: HookFacts) -> None:
        self.base = base
        self.packet = packet
        self.facts = facts
        self.registers = Registers()
        self.in_doubt = ""
        self.choices: Choices | None = None
        self.uncertain: dict[str, str] = dict(packet.unsure)
        self.touched_sets: set[str] = set()
        self.touched: dict[SetKey, bool] = {}
        self.notrack = False
        self.zone: int | None = None
        self.helper = ""
        self.tproxy = ""

    def kept(self) -> dict[str, object]:
        """Everything that rules change, to be compared with later or put back."""
        return {name: value.copy() if isinstance(value, dict | set) else value for name, value in vars(self).items()}

    def put_back(self, kept: dict[str, object]) -> None:
        vars(self).update(kept)

    def change(self, field: str, value: object, *, keeping: bool = False) -> None:
        """Sets a packet field; in doubt the old value stays and the field counts as uncertain.

        keeping: the new value is made from the old one, and no surer than that was.
        """
        if keeping and field in self.uncertain:
            return
        if self.in_doubt:
            self.uncertain[field] = self.in_doubt
            return
        self.uncertain.pop(field, None)
        self.packet = msgspec.structs.replace(self.packet, **{field: value})

    def doubt(self, field: str) -> Unknown | None:
        """Why a packet field cannot be relied on here, if it cannot."""
        why = self.uncertain.get(field)
        return None if why is None else Unknown(why)

    def set_key(self, name: str, key: bytes) -> SetKey:
        return self.base.table.family, self.base.table.name, name, key

    def touch(self, name: str, bits: Bits, *, present: bool) -> None:
        """Remembers that a rule put this key into a set, or took it out; in doubt the whole set is."""
        if self.in_doubt or not bits.known:
            self.uncertain[f"set {name}"] = self.in_doubt or bits.why
        else:
            self.touched[self.set_key(name, bits.value)] = present

    def touched_before(self, name: str, bits: Bits) -> bool | Unknown | None:
        """Whether rules met before left this key in the set; None when they left it alone."""
        mine = {
            key: value
            for key, value in (self.facts.touched | self.touched).items()
            if key[:3] == self.set_key(name, b"")[:3]
        }
        if mine and not bits.known:
            return Unknown(bits.why)
        return mine.get(self.set_key(name, bits.value))

    def set(self, name: str) -> Set | None:
        return self.base.table.set(name)
