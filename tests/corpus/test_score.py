"""How an answer is judged: tokens stand as words, and what a fix may leave behind."""

import pytest

from corpus.score import collateral, names, stands


@pytest.mark.parametrize(
    ("token", "text", "found"),
    [
        ("eth1", "veth1 is down", False),
        ("eth1", "interface eth1 is down", True),
        ("10.0.0.1", "via 10.0.0.10", False),
        ("10.0.0.1", "via 110.0.0.1", False),
        ("10.0.0.1", "gateway 10.0.0.1.", True),
        ("10.0.0.0/24", "-s 10.0.0.0/24 -j drop", True),
        ("ip_forward", "net.ipv4.ip_forward = 0", True),
        ("drop", "the policy drops it", True),
        ("drop", "dropbear", False),
        ("200", "table 2001", False),
    ],
)
def test_a_token_stands_as_a_word(token: str, text: str, found: bool) -> None:
    assert stands(token, text) is found


def test_one_token_of_every_group_is_said() -> None:
    cause = {"summary": "The policy of FORWARD drops it", "object": "chain", "evidence": ["10.0.0.2 -> 8.8.8.8"]}
    assert names(cause, (("forward",), ("policy", "rule")))
    assert not names(cause, (("forward",), ("input",)))


def test_undoing_the_fault_is_no_collateral() -> None:
    healthy, faulty = ["host a", "host b"], ["host b", "host fault"]
    assert collateral(healthy, faulty, ["host a", "host b"]) == []
    assert collateral(healthy, faulty, ["host a"]) == ["-host b"]
    assert collateral(healthy, faulty, ["host b", "host fault", "host new"]) == ["+host new"]
