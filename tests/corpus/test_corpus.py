"""The corpus as tests: the cases hold, netdoctor finds and mends them. A sample always, the whole under -m soak."""

import pytest

from corpus.cases import Case, load
from corpus.score import score
from corpus.verify import verify
from netdoctor import checks

CASES = load()
SAMPLE = (
    "host-end-down",
    "container-end-down",
    "port-disabled",
    "port-not-in-bridge",
    "host-address-gone",
    "gateway-mac-wrong",
    "container-default-gone",
    "container-blackhole",
    "return-route-gone",
    "ip-forward-off",
    "interface-forwarding-off",
    "rp-filter-policy-world",
    "forward-policy-drop",
    "forward-policy-drop-legacy",
    "another-table-drops",
    "nft-block-list",
    "masquerade-gone",
    "masquerade-for-another-egress",
    "masquerade-for-another-subnet",
    "notrack",
    "frag-needed-dropped",
    "v6-forwarding-off",
    "destination-drops",
    "double-forward-and-masquerade",
    "base-veth",
    "base-bridge",
    "routed-without-nat",
    "snat-instead-of-masquerade",
    "gateway-does-not-answer-ping",
)


def parameters() -> list[object]:
    return [
        pytest.param(case, id=name, marks=[] if name in SAMPLE else pytest.mark.soak) for name, case in CASES.items()
    ]


@pytest.mark.parametrize("case", parameters())
@pytest.mark.usefixtures("lab")
def test_found_and_mended(case: Case) -> None:
    result = score(case)
    assert not result.missed, "\n".join([", ".join(result.missed), result.said, *result.notes])


@pytest.mark.soak
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.usefixtures("lab")
def test_the_case_holds(case: Case) -> None:
    verify(case)


def test_every_cause_expected_is_in_the_catalogue() -> None:
    known = {slug for check in checks.ORDER for slug in check.CAUSES}
    assert {slug for case in CASES.values() for slug in case.slugs} <= known


def test_the_sample_is_of_the_corpus() -> None:
    assert set(SAMPLE) <= set(CASES)
