"""nf_tables expressions on packets of which not everything is known, and where a rule breaks off."""

import pytest
from msgspec.structs import replace

from netdoctor.model import expression as e
from netdoctor.model.firewall import Chain, Ruleset, Set, SetElement, Table
from netdoctor.model.network import Link
from netdoctor.model.unknown import Unknown
from netdoctor.walk.netfilter import BaseChain, HookFacts
from netdoctor.walk.netfilter.registers import Bits
from netdoctor.walk.netfilter.state import Alternatives, Decision, Outcome, Pending, State
from netdoctor.walk.netfilter.step import step
from netdoctor.walk.packet import ICMP, TCP, UDP, ConntrackView, Packet

SYN = Packet(
    family=4, source="10.0.0.1", destination="10.0.0.2", protocol=TCP, source_port=1000, destination_port=80, tcp_flags=2,
    length_bytes=60, in_device="left", out_device="right", conntrack=ConntrackView(state="new"),
)  # fmt: skip
LINKS = {"left": Link(index=3, name="left", kind="veth", group=7), "right": Link(index=4, name="right", kind="veth")}


def state(packet: Packet = SYN, hook: str = "forward", sets: tuple[Set, ...] = ()) -> State:
    chain = Chain(name="c", hook=hook, type="filter")
    table = Table(backend="nft", family="inet", name="t", chains=(chain,), sets=sets)
    base = BaseChain(ruleset=Ruleset(tables=(table,)), table=table, chain=chain, hook=hook, priority=0)
    return State(base, packet, HookFacts(links=LINKS, ipsec=False))


def run(at: State, *expressions: e.AnyExpression) -> Outcome:
    """The outcome of the last expression, or of the first that ends the rule."""
    outcome: Outcome = True
    for expression in expressions:
        outcome = step(at, expression)
        if outcome is False:
            return False
    return outcome


def held(value: bytes, hidden: bytes) -> State:
    at = state()
    at.registers.store(1, Bits(value, hidden, "nobody knows"))
    return at


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("lt", b"\x20", True), ("lt", b"\x10", False), ("lt", b"\x18", None), ("gte", b"\x10", True),
        ("gte", b"\x20", False), ("gt", b"\x1f", False), ("lte", b"\x1f", True), ("eq", b"\x20", False), ("neq", b"\x20", True),
        ("eq", b"\x15", None),
    ],
)  # fmt: skip
def test_bounds_decide_where_no_candidate_disagrees(
    operator: e.Comparison, value: bytes, expected: bool | None
) -> None:
    """The register is 0x10 to 0x1f."""
    outcome = run(held(b"\x10", b"\x0f"), e.Cmp(operator=operator, register=1, value=value))
    assert isinstance(outcome, Unknown) if expected is None else outcome is expected


@pytest.mark.parametrize(("low", "high", "expected"), [(0, 31, True), (32, 40, False), (20, 40, None), (16, 31, True)])
def test_ranges_too(low: int, high: int, expected: bool | None) -> None:
    at = held(b"\x10", b"\x0f")
    outcome = run(at, e.Range(operator="eq", register=1, low=bytes([low]), high=bytes([high])))
    assert isinstance(outcome, Unknown) if expected is None else outcome is expected


def test_known_bits_survive_what_is_done_to_a_register() -> None:
    at = held(b"\x10\0\0\0", b"\x0f\0\0\0")
    shift = e.Bitwise(source=1, destination=2, length=4, operation="lshift", value=b"\x04\0\0\0")
    assert run(at, shift, e.Cmp(operator="eq", register=2, value=b"\0\x02\0\0")) is False
    at.registers.store(3, Bits(b"\xf0\0\0\0"))
    cut = e.Bitwise(source=1, destination=2, length=4, operation="and", second=3)
    assert run(at, cut, e.Cmp(operator="eq", register=2, value=b"\x10\0\0\0")) is True


def test_numbers_stay_below_their_modulus() -> None:
    draw = e.Numgen(mode="random", modulus=10, register=1)
    swap = e.Byteorder(source=1, destination=1, operation="hton", length=4, size=4)
    below = [e.Cmp(operator="lt", register=1, value=bytes([0, 0, 0, bound])) for bound in (16, 3)]
    assert run(state(), draw, swap, below[0]) is True
    assert isinstance(run(state(), draw, swap, below[1]), Unknown)


@pytest.mark.parametrize(
    "load",
    [
        e.Meta(key="skuid", register=1), e.Meta(key="cgroup", register=1), e.Meta(key="bri_iifname", register=1),
        e.Ct(key="helper", register=1), e.Ct(key="src_ip6", register=1, direction=0),
        e.Payload(base="transport", offset=38, length=4, register=1), e.Rt(key="nexthop6", register=1),
        e.Exthdr(operation=0, type=44, offset=4, length=4, register=1), e.Xfrm(key="reqid", register=1),
        e.Exthdr(operation=2, type=131, offset=0, length=1, register=1),
        e.Exthdr(operation=3, type=0, offset=0, length=1, register=1),
    ],
    ids=lambda load: f"{load.__struct_config__.tag} {getattr(load, 'key', '')}",
)  # fmt: skip
def test_loads_that_end_the_rule(load: e.AnyExpression) -> None:
    assert step(state(), load) is False


def test_without_an_entry_only_the_state_can_be_asked() -> None:
    at = state(replace(SYN, conntrack=None), "prerouting")
    assert run(at, e.Ct(key="mark", register=1)) is False
    assert run(at, e.Ct(key="state", register=1), e.Cmp(operator="eq", register=1, value=b"\x01\0\0\0")) is True
    assert (
        run(at, e.Notrack(), e.Ct(key="state", register=1), e.Cmp(operator="eq", register=1, value=b"\x40\0\0\0"))
        is True
    )


def test_a_used_up_quota_is_sure() -> None:
    assert run(state(), e.Quota(bytes=100, consumed=100, over=True)) is True
    assert run(state(), e.Quota(bytes=100, consumed=100)) is False
    assert isinstance(run(state(), e.Quota(bytes=100, consumed=99)), Unknown)


def test_synproxy_leaves_other_protocols_alone() -> None:
    assert run(state(replace(SYN, protocol=UDP)), e.Synproxy()) is False
    assert isinstance(run(state(), e.Synproxy()), Alternatives)


def test_objects_through_a_map() -> None:
    element = SetElement(key=b"\0\x50", object="slow")
    limits = Set(name="m", key_length=2, flags=("map", "object"), object_type=4, elements=(element,))
    counters = replace(limits, object_type=1)
    load = e.Payload(base="transport", offset=2, length=2, register=1)
    other = replace(SYN, destination_port=81)
    assert run(state(other, sets=(limits,)), load, e.Objref(set="m", register=1)) is False
    assert isinstance(run(state(sets=(limits,)), load, e.Objref(set="m", register=1)), Unknown)
    assert run(state(sets=(counters,)), load, e.Objref(set="m", register=1)) is True


def test_a_set_with_a_limit_of_its_own_gives_it_to_what_is_added() -> None:
    meter = Set(name="s", key_length=4, flags=("eval",), expressions=(e.Limit(rate=1, unit_s=1),), elements=())
    load = e.Payload(base="network", offset=12, length=4, register=1)
    assert isinstance(run(state(sets=(meter,)), load, e.Dynset(set="s", operation="add", key=1)), Unknown)


def test_a_full_set_leaves_it_open() -> None:
    full = Set(name="s", key_length=4, size=1, elements=(SetElement(key=b"abcd"),))
    load = e.Payload(base="network", offset=12, length=4, register=1)
    assert isinstance(run(state(sets=(full,)), load, e.Dynset(set="s", operation="add", key=1)), Unknown)
    assert run(state(sets=(full,)), load, e.Dynset(set="s", operation="delete", key=1)) is True


def test_a_key_just_added_is_found_and_others_are_as_before() -> None:
    mine = Set(name="s", key_length=4, elements=())
    at = state(sets=(mine,))
    source, destination = (e.Payload(base="network", offset=place, length=4, register=1) for place in (12, 16))
    look = e.Lookup(set="s", register=1)
    assert run(at, source, e.Dynset(set="s", operation="add", key=1), look) is True
    assert run(at, destination, look) is False
    assert run(at, source, e.Dynset(set="s", operation="delete", key=1), look) is False


def test_a_queue_from_a_register() -> None:
    at = state()
    outcome = run(at, e.Immediate(register=1, value=b"\x05\0"), e.Queue(flags=1, register=1))
    assert isinstance(outcome, Decision)
    assert (outcome.queue, outcome.bypass) == (5, True)


def test_writing_a_header_changes_what_is_read_after() -> None:
    at = state()
    write = e.PayloadSet(base="transport", offset=2, length=2, register=1)
    assert run(at, e.Immediate(register=1, value=b"\0\x51"), write) is True
    assert at.packet.destination_port == 81
    at.registers.store(1, Bits(b"\0\0", b"\xff\xff", "nobody knows"))
    load = e.Payload(base="transport", offset=0, length=2, register=2)
    assert run(at, write, load, e.Cmp(operator="eq", register=2, value=b"\x03\xe8")) is True
    again = replace(load, offset=2)
    assert isinstance(run(at, again, e.Cmp(operator="eq", register=2, value=b"\0\x51")), Unknown)


def test_icmp_has_no_inner_header() -> None:
    assert step(state(replace(SYN, protocol=ICMP)), e.Payload(base="inner", offset=0, length=1, register=1)) is False


def test_a_set_that_is_not_read_is_asked_for() -> None:
    load = e.Payload(base="network", offset=12, length=4, register=1)
    assert isinstance(run(state(sets=(Set(name="s", key_length=4),)), load, e.Lookup(set="s", register=1)), Pending)
