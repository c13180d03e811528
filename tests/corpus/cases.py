"""The cases, read from the TOML files beside this one. One table a case; the keys are Case's fields.

Shell runs in the host role (see lab.World.sh): `ns1 ip ...` runs in another, `mac DEV` is a host device's MAC.
"""

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
LAYERS = (
    *("link", "address", "neighbour", "route", "forwarding", "firewall"),
    *("nat", "conntrack", "mtu", "upstream", "dns", "transport"),
)


@dataclass(frozen=True, kw_only=True)
class Second:
    """The other root cause of a double fault."""

    layers: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One fault or healthy oddity.

    ask: "DEST" or "DEST PORT/PROTO", asked from role `target`. probe: passes before, fails after (lab/probe.py).
    layers: every layer a fair reader accepts, the best first. slugs: accepted causes, empty where several are right.
    where: roles that may hold the culprit, empty where it is beyond this host. names: of each group one token is said.
    fixable: someone on this host can mend it without guessing what was there before.
    healthy: it works before `inject` (some questions have never worked).
    """

    id: str
    title: str
    family: str
    world: str = "veth"
    target: str = "ns1"
    ask: str = "8.8.8.8"
    probe: tuple[str, ...] = ()
    prepare: str = ""
    inject: str = ""
    repair: str = ""
    layers: tuple[str, ...] = ()
    slugs: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    names: tuple[tuple[str, ...], ...] = ()
    fixable: bool = True
    healthy: bool = True
    second: Second | None = field(default=None)

    @property
    def question(self) -> list[str]:
        """The arguments after `netdoctor check`."""
        dest, _, port = self.ask.partition(" ")
        return [self.target, "--to", dest, *(["--port", port] if port else [])]

    @property
    def probes(self) -> list[str]:
        """What the question means on the wire, unless the case says it better."""
        return [f"{self.target}: {spec}" for spec in self.probe or (default_probe(self.ask),)]


def default_probe(ask: str) -> str:
    dest, _, port = ask.partition(" ")
    number, _, protocol = port.partition("/")
    host = f"[{dest}]" if ":" in dest else dest
    is_name = not re.fullmatch(r"[\d.]+|[\da-f:]*:[\da-f:]*", dest)
    if not port:
        return f"name {dest}" if is_name else f"ping {dest}"
    return f"{'web' if is_name else protocol} {host}:{number}"


def load() -> dict[str, Case]:
    """Every case by its id."""
    cases: dict[str, Case] = {}
    for path in sorted(HERE.glob("*.toml")):
        for kind, tables in tomllib.loads(path.read_text()).items():
            for table in tables:
                case = read_case(table, path.stem, kind)
                if case.id in cases:
                    raise ValueError(f"{path.name}: two cases are called {case.id}")
                cases[case.id] = case
    return cases


def read_case(table: dict[str, object], family: str, kind: str) -> Case:
    values = {key: frozen(value) for key, value in table.items()}
    if isinstance(table.get("second"), dict):
        values["second"] = Second(**{key: frozen(value) for key, value in table["second"].items()})
    case = Case(family=family, **values)
    if kind == "fault" and (not case.inject or not case.repair or not case.names or not case.layers):
        raise ValueError(f"{case.id}: a fault needs inject, repair, layers and names")
    if not set(case.layers) <= set(LAYERS):
        raise ValueError(f"{case.id}: unknown layers {set(case.layers) - set(LAYERS)}")
    return case


def frozen(value: object) -> object:
    return tuple(frozen(item) for item in value) if isinstance(value, list) else value
