"""A fact that cannot be read is never "off" and never "fine": the check that needs it cannot tell, and says why."""

from typing import Any

import pytest

from netdoctor.model.firewall import Ruleset
from netdoctor.model.snapshot import Snapshot
from netdoctor.model.unknown import Unknown

from .model import diagnosed, rewritten

WHY = Unknown("not permitted")


@pytest.mark.parametrize(
    ("role", "facts"),
    [
        ("target", {"routes": WHY}),
        ("target", {"addresses": WHY}),
        ("target", {"links": WHY}),
        ("host", {"routes": WHY}),
        ("host", {"links": WHY}),
        ("host", {"ruleset": Ruleset(tables=WHY, ipsets=WHY)}),
        ("host", {"sysctls": lambda old: {**old, "net/ipv4/conf/veth0/forwarding": WHY, "net/ipv4/ip_forward": WHY}}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_what_is_unknown_is_undetermined(healthy: Snapshot, role: str, facts: dict[str, Any]) -> None:
    found = diagnosed(rewritten(role, **facts)(healthy))
    assert found.diagnosis.verdict == "undetermined" and not found.diagnosis.causes
    assert "unknown" in {check.status for check in found.diagnosis.checks} or "not permitted" in found.diagnosis.summary


def test_the_reason_is_told(healthy: Snapshot) -> None:
    found = diagnosed(rewritten("host", routes=WHY)(healthy))
    said = " ".join([found.diagnosis.summary, *(check.summary for check in found.diagnosis.checks)])
    assert "not permitted" in said


def test_a_name_without_an_address_is_undetermined(healthy: Snapshot) -> None:
    """Its servers can be reached, and nobody asked them."""
    found = diagnosed(healthy, "files.test")
    assert found.diagnosis.verdict == "undetermined"
