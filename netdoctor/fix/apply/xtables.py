"""Edits of legacy xtables through libiptc, by way of python-iptables (the extra `legacy`).

Entries go in as the kernel's own bytes. The lock of iptables-legacy is held from reading to committing.
"""

import ctypes
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from netdoctor.errors import NetdoctorError
from netdoctor.fix.ruleset_effect import place
from netdoctor.model.change import AddChain, ChainRef, DeleteChain, DeleteRule, InsertRule, ReplaceRule, SetChainPolicy
from netdoctor.model.expression import Verdict
from netdoctor.model.firewall import Rule
from netdoctor.model.unknown import Unknown
from netdoctor.observe.nftables import read_ruleset

XTABLES_LOCK = "/run/xtables.lock"
LOCK_PATIENCE_S = 10
TARGET_OFFSET = {"ip": 88, "ip6": 140}
TARGET_NAME_BYTES, TARGET_VERDICT = 29, 32
STANDARD_NAMES = {"accept": "ACCEPT", "drop": "DROP", "queue": "QUEUE", "return": "RETURN"}
Edit = InsertRule | DeleteRule | ReplaceRule | SetChainPolicy | AddChain | DeleteChain


def edit_legacy(change: Edit) -> None:
    """Writes the edit in the calling thread's namespace. Raises OSError, or NetdoctorError without python-iptables."""
    library, errors = _library(change.at)
    with _locked():
        handle = library.iptc_init(change.at.table.encode())
        if not handle:
            raise _failure(errors, change.at)
        try:
            if not _edit(library, handle, change) or not library.iptc_commit(handle):
                raise _failure(errors, change.at)
        finally:
            library.iptc_free(handle)


def _library(at: ChainRef) -> tuple[Any, Any]:
    """python-iptables' binding of libip4tc or libip6tc, with its errno."""
    try:
        if at.family == "ip6":
            from iptc import ip6tc as module

            return module.ip6tc, ctypes.get_errno
        from iptc import ip4tc

        return ip4tc.iptc, ip4tc._get_errno_loc
    except ImportError as error:
        tool = "ip6tables-legacy" if at.family == "ip6" else "iptables-legacy"
        raise NetdoctorError(
            f"changing legacy xtables needs the package python-iptables (pip install 'netns-doctor[legacy]'): {error}; "
            f"or type the {tool} command yourself"
        ) from error


@contextmanager
def _locked() -> Iterator[None]:
    """Holds the lock iptables-legacy takes."""
    fd = os.open(XTABLES_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise NetdoctorError(f"{XTABLES_LOCK} is held by another process for {LOCK_PATIENCE_S} s") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(fd)


def _failure(errors: Any, at: ChainRef) -> OSError:
    location = errors()
    code = location if isinstance(location, int) else ctypes.cast(location, ctypes.POINTER(ctypes.c_int)).contents.value
    return OSError(code, f"{at.family} {at.table} {at.chain}: {os.strerror(code)}")


def _edit(library: Any, handle: Any, change: Edit) -> bool:
    at = change.at
    chain = at.chain.encode()
    match change:
        case InsertRule(rule=rule, line=line):
            entry = _entry(at, rule)
            if line and line <= len(present(at)):
                return bool(library.iptc_insert_entry(chain, entry, line - 1, handle))
            return bool(library.iptc_append_entry(chain, entry, handle))
        case DeleteRule(rule=rule):
            return bool(library.iptc_delete_num_entry(chain, _place(at, rule), handle))
        case ReplaceRule(before=old, after=new):
            return bool(library.iptc_replace_entry(chain, _entry(at, new), _place(at, old), handle))
        case SetChainPolicy(policy=policy):
            return bool(library.iptc_set_policy(chain, policy.upper().encode(), None, handle))
        case AddChain(hook=hook):
            return bool(hook) or bool(library.iptc_create_chain(chain, handle))
        case DeleteChain():
            return bool(library.iptc_delete_chain(chain, handle))


def present(at: ChainRef) -> tuple[Rule, ...]:
    """The chain's rules now."""
    tables = read_ruleset().tables
    if isinstance(tables, Unknown):
        raise PermissionError(1, tables.why)
    table = next((t for t in tables if (t.backend, t.family, t.name) == (at.backend, at.family, at.table)), None)
    chain = table.chain(at.chain) if table else None
    return chain.rules if chain and not isinstance(chain.rules, Unknown) else ()


def _place(at: ChainRef, rule: Rule) -> int:
    index = place(present(at), rule)
    if index is None:
        raise FileNotFoundError(2, f"{at.family} {at.table} {at.chain}: the rule is not there")
    return index


def _entry(at: ChainRef, rule: Rule) -> Any:
    """struct ipt_entry for libiptc, which wants standard targets by name (libiptc.c iptcc_map_target)."""
    if not rule.raw:
        raise NetdoctorError(f"a legacy rule of {at.table} {at.chain} without its bytes cannot be written")
    raw = bytearray(rule.raw)
    offset = struct.unpack_from("=H", raw, TARGET_OFFSET["ip6" if at.family == "ip6" else "ip"])[0]
    if raw[offset + 2] == 0:
        name = _standard_name(rule).encode()[: TARGET_NAME_BYTES - 1]
        raw[offset + 2 : offset + 2 + TARGET_NAME_BYTES] = name.ljust(TARGET_NAME_BYTES, b"\0")
        struct.pack_into("=i", raw, offset + TARGET_VERDICT, 0)
    return ctypes.create_string_buffer(bytes(raw), len(raw))


def _standard_name(rule: Rule) -> str:
    """The verdict or the chain jumped to; empty for a rule that only counts."""
    verdict = next((each for each in reversed(rule.expressions) if isinstance(each, Verdict)), None)
    if verdict is None or verdict.code == "continue":
        return ""
    return verdict.chain or STANDARD_NAMES[verdict.code]
