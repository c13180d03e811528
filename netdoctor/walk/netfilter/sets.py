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
    if isinstance(found.elements, Unknown) and found.elements != UNREAD:
        return Unknown(f"the elements of set {name} could not be read: {found.elements.why}")
    whole = Pending(needs=(RulesetNeed(subject="set", key=(state.base.table.family, state.base.table.name, name)),))
    bits = state.registers.load(register, found.key_length)
    known = state.doubt(f"set {name}") or state.touched_before(name, bits)
    if known is False or isinstance(known, Unknown):
        return known or None
    if known:
        return (
            Unknown(f"rules map this key in {name} as packets pass")
            if "map" in found.flags
            else SetElement(key=bits.value)
        )
    if isinstance(found.elements, Unknown):
        return _asked(found, bits, whole)
    return _settled(found, find(found, found.elements, bits))


def _asked(found: Set, bits: Bits, whole: Pending) -> SetElement | Unknown | Pending | None:
    """The kernel's answer for this key. The set is read whole where the rule's text shows it (an anonymous one), where
    bits of the key are hidden, and where the answer leaves a doubt."""
    if "anonymous" in found.flags or not bits.known:
        return whole
    key = bits.value.hex()
    answer = found.answers.get(key)
    if answer is None:
        return Pending(needs=(RulesetNeed(subject="element", key=(*whole.needs[0].key, key)),))
    if isinstance(answer, Unknown):
        return Unknown(f"set {found.name} could not be asked: {answer.why}")
    hit = _settled(found, answer[0] if answer else None)
    return whole if isinstance(hit, Unknown) else hit


def _settled(found: Set, hit: SetElement | Unknown | None) -> SetElement | Unknown | None:
    """An element that counts packets may be used up."""
    if isinstance(hit, SetElement) and any(isinstance(each, Limit | Quota | Connlimit) for each in hit.expressions):
        return Unknown(f"an element of set {found.name} counts packets")
    return hit


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
    return hit or catchall


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


def _concatenated(found: Set, elements: tuple[SetElement, ...], key: bytes) -> SetElement | Unknown | None:
    """Every field within its own range. Elements may overlap: which of them the kernel takes no dump tells."""
    hits = [
        element
        for element in elements
        if not element.catchall and _fields_within(found.fields, element.key, element.key_end or element.key, key)
    ]
    if len({(one.value, one.verdict, one.chain, one.object, one.expressions) for one in hits}) > 1:
        return Unknown(f"{len(hits)} overlapping elements of {found.name} take it, to different ends")
    return hits[0] if hits else None


def _fields_within(fields: tuple[int, ...], low: bytes, high: bytes, key: bytes) -> bool:
    offset = 0
    for length in fields:
        part = slice(offset, offset + length)
        if not low[part] <= key[part] <= high[part]:
            return False
        offset += -(-length // 4) * 4
    return True
