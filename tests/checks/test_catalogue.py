"""The catalogue is whole: every kind of step has one check, every slug one explanation, and none is written in vain."""

import ast
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
from lab.command import netdoctor

from netdoctor import checks
from netdoctor.model.diagnosis import Layer
from netdoctor.model.journey import StepKind

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    *(ROOT / "netdoctor" / "walk").rglob("*.py"),
    *(ROOT / "netdoctor" / name for name in ("conclusion.py", "resolution.py", "engine.py")),
    *(ROOT / "checks").glob("*.py"),
]
DOCUMENTED = {slug for check in checks.ORDER for slug in check.CAUSES}


def words_of(node: ast.AST) -> set[str]:
    """The strings an expression may come to: of "a", `x or "a"`, `"a" if x else "b"`."""
    match node:
        case ast.Constant(value=str(text)) if text:
            return {text}
        case ast.IfExp(body=body, orelse=other):
            return words_of(body) | words_of(other)
        case ast.BoolOp(values=values):
            return set().union(*(words_of(each) for each in values))
    return set()


def named_slugs() -> dict[str, str]:
    """Slug -> where the code names it, as a cause: arguments, assignments, comparisons."""
    trees = {path: ast.parse(path.read_text()) for path in SOURCES}
    places = {
        node.name: at
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and (at := _place(node)) is not None
    }
    found: dict[str, str] = {}
    for path, tree in trees.items():
        for node in ast.walk(tree):
            found |= dict.fromkeys(_slugs(node, places), f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}")
    return found


def _place(function: ast.FunctionDef) -> int | None:
    """Where a function takes a cause's slug among its positional arguments, itself left out."""
    names = [one.arg for one in function.args.args if one.arg != "self"]
    return next((at for at, name in enumerate(names) if name in ("cause", "slug")), None)


def _slugs(node: ast.AST, places: dict[str, int]) -> set[str]:
    match node:
        case ast.keyword(arg="cause" | "slug", value=value):
            return words_of(value)
        case ast.Assign(targets=[ast.Name(id="cause" | "slug")], value=value):
            return words_of(value)
        case ast.Compare(left=ast.Attribute(value=ast.Name(id=owner), attr="cause" | "slug"), comparators=others):
            # A Refusal's cause is the kernel's word for it, not ours.
            return set().union(*(words_of(each) for each in _flat(others))) if owner != "refusal" else set()
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), args=args) if places.get(name, 99) < len(args):
            return words_of(args[places[name]])
    return set()


def _flat(nodes: list[ast.expr]) -> list[ast.expr]:
    return [each for node in nodes for each in (node.elts if isinstance(node, ast.Tuple) else [node])]


def test_every_kind_of_step_belongs_to_one_check() -> None:
    kinds = [kind for check in checks.ORDER for kind in check.KINDS]
    assert sorted(kinds) == sorted(get_args(StepKind))
    assert all(kind in checks.check_of(kind).KINDS for kind in kinds)
    with pytest.raises(LookupError):
        checks.check_of("no-such-kind")


def test_every_check_has_its_layer() -> None:
    assert [check.LAYER for check in checks.ORDER] == list(get_args(Layer))
    assert len({check.ID for check in checks.ORDER}) == len(checks.ORDER)


def test_every_slug_that_the_code_names_is_documented() -> None:
    assert {slug: where for slug, where in named_slugs().items() if slug not in DOCUMENTED} == {}


def test_every_documented_slug_is_named_somewhere() -> None:
    """As it stands, or made of f"upstream-{word}"."""
    written = {
        node.value
        for path in SOURCES
        for top in ast.parse(path.read_text()).body
        if not (isinstance(top, ast.Assign) and getattr(top.targets[0], "id", "") == "CAUSES")
        for node in ast.walk(top)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    made = {f"upstream-{word}" for word in written} if "upstream-" in written else set()
    assert sorted(DOCUMENTED - written - made) == []


def test_a_slug_is_documented_once() -> None:
    slugs = [slug for check in checks.ORDER for slug in check.CAUSES]
    assert sorted({slug for slug in slugs if slugs.count(slug) > 1}) == []


@pytest.mark.parametrize("check", checks.ORDER, ids=lambda check: check.ID)
def test_explanations_are_sentences(check: ModuleType) -> None:
    assert (check.__doc__ or "").strip()
    for slug, text in check.CAUSES.items():
        assert text.rstrip().endswith((".", "`")), slug
        assert "  " not in text and len(text) > 30, slug
        assert slug == slug.lower() and " " not in slug
        assert checks.explanation(slug) == (check, text)


@pytest.mark.parametrize("slug", ["link-down", "masquerade-wrong-egress", "resolver-loopback"])
def test_explain_prints_what_is_documented(slug: str) -> None:
    done = netdoctor("explain", slug)
    assert done.returncode == 0 and done.stdout.startswith(slug) and "Fix:" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 100


def test_explain_finds_near_names() -> None:
    done = netdoctor("explain", "masquerade-lost")
    assert done.returncode == 2 and "masquerade-missing" in done.stderr
