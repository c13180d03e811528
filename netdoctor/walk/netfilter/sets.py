"""nf_tables set lookups on a set's elements as they were read (nft_set_hash.c, nft_set_rbtree.c, nft_set_pipapo.c)."""

from netdoctor.model.expression import Connlimit, Limit, Quota
from netdoctor.model.firewall import Set, SetElement
from netdoctor.model.unknown import UNREAD, Unknown

from .registers import Bits
from .result import RulesetNeed
from .state import Pending, State


def look_up(state: State, name: str, register: int) -> SetElement | Unknown | Pending | None:
    """The element that takes the register's value; None when there is none."""
    found = state.set(name)
    if found is None:
        return Unknown(f"set {name} was not seen")
    if isinstance(found.elements, Unknown):
        table = state.base.table
        if found.elements == UNREAD:
            return Pending(needs=(RulesetNeed(subject="set", key=(table.family, table.name, name)),))
        return Unknown(f"the elements of set {name} could not be read: {found.elements.why}")
    if name in state.touched_sets:
        return Unknown(f"rules before this one change set {name} as packets pass")
    return find(found, found.elements, state.registers.load(register, found.key_length))


def find(found: Set, elements: tuple[SetElement, ...], bits: Bits) -> SetElement | Unknown | None:
    """Searches one set. With hidden bits the answer is sure only when no element could take the value."""
    catchall = next((element for element in elements if element.catchall), None)
    if not bits.known:
        could = any(element.catchall or _could_be(found, element, bits) for element in elements)
        return Unknown(bits.why) if could else None
    if "interval" in found.flags:
        hit = _concatenated(found, elements, bits.value) if found.fields else _interval(elements, bits.value)
    else:
        hit = next((each for each in elements if not each.catchall and each.key == bits.value), None)
    hit = hit or catchall
    if hit is not None and any(isinstance(expression, Limit | Quota | Connlimit) for expression in hit.expressions):
        return Unknown(f"an element of set {found.name} counts packets")
    return hit


def _could_be(found: Set, element: SetElement, bits: Bits) -> bool:
    if "interval" in found.flags:
        return not element.interval_end
    return bits.equals(element.key) is not False


def _interval(elements: tuple[SetElement, ...], key: bytes) -> SetElement | None:
    """Half-open intervals: a start, and an interval_end one past the last value; or closed ones with key_end."""
    best: SetElement | None = None
    for element in elements:
        if element.catchall or element.key > key:
            continue
        if best is None or element.key > best.key or (element.key == best.key and best.interval_end):
            best = element
    if best is None or best.interval_end:
        return None
    return None if best.key_end and key > best.key_end else best


def _concatenated(found: Set, elements: tuple[SetElement, ...], key: bytes) -> SetElement | None:
    """Every field within its own range."""
    for element in elements:
        if not element.catchall and _fields_within(found.fields, element.key, element.key_end or element.key, key):
            return element
    return None


def _fields_within(fields: tuple[int, ...], low: bytes, high: bytes, key: bytes) -> bool:
    offset = 0
    for length in fields:
        part = slice(offset, offset + length)
        if not low[part] <= key[part] <= high[part]:
            return False
        offset += -(-length // 4) * 4
    return True
