"""The JSON contract."""

import json
import subprocess
import sys

import jsonschema
import msgspec
import pytest

from netdoctor.model.diagnosis import Report
from netdoctor.reports.json import parse, render, render_all, render_error, schema

from .sample_all import ALL


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    document = json.loads(schema())
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document)


@pytest.mark.parametrize("name", ALL)
def test_every_report_is_valid_and_reads_back(name: str, validator: jsonschema.Draft202012Validator) -> None:
    text = render(ALL[name]())
    validator.validate(json.loads(text))
    assert render(parse(text)) == text


def test_keys_stand_in_the_order_of_the_contract() -> None:
    said = json.loads(render(ALL["wrong_egress"]()))
    assert list(said)[:8] == [
        "schema_version", "question", "verdict", "basis", "summary", "root_causes", "warnings", "checks",
    ]  # fmt: skip
    assert list(said["root_causes"][0])[:5] == ["id", "layer", "namespace", "object", "summary"]


def test_only_a_fix_has_the_keys_of_a_fix() -> None:
    assert not {"applied", "undo", "fixed", "journal", "error"} & set(json.loads(render(ALL["wrong_egress"]())))
    said = json.loads(render(ALL["fixed"]()))
    assert said["fixed"] is True
    assert said["applied"][0][0] == "iptables"
    assert "error" not in said


def test_a_fix_that_found_nothing_to_do_says_so() -> None:
    idle = msgspec.structs.replace(ALL["healthy"](), applied=[], undo=[], fixed=False)
    said = json.loads(render(idle))
    assert (said["applied"], said["undo"], said["fixed"]) == ([], [], False)


def test_all_and_errors_are_valid(validator: jsonschema.Draft202012Validator) -> None:
    several = json.loads(render_all("fail", [ALL["healthy"](), ALL["wrong_egress"]()]))
    validator.validate(several)
    assert [one["target"] for one in several["reports"]] == ["ns1", "ns1"]
    failed = json.loads(render_error("no such namespace: ns9"))
    validator.validate(failed)
    assert failed["verdict"] == "error"


def test_names_that_are_not_utf8_are_shown() -> None:
    report: Report = msgspec.structs.replace(ALL["healthy"](), summary="device veth\udcff")
    assert json.loads(render(report))["summary"] == "device veth\\udcff"


def test_importing_it_costs_nothing() -> None:
    code = "import sys, netdoctor.reports.json; print(*{'rich', 'jinja2', 'subprocess', 'asyncio'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
