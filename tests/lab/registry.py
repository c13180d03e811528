"""Who owns which world, so that worlds left by a killed run are taken down, and only those.

One file a world in REGISTRY: its owner, a pid with its start time (a pid alone may be reused), and its namespaces.
Processes are ended by id, and only those that live in the world's own namespaces.
"""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

REGISTRY = Path("/run/netdoctor-lab")
NETNS, NETNS_ETC = Path("/run/netns"), Path("/etc/netns")


def start_time(pid: int) -> str:
    """Field 22 of /proc/PID/stat (proc(5)), "" when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def record(prefix: str, namespaces: list[str]) -> None:
    """Before anything is made: this process owns these names."""
    REGISTRY.mkdir(mode=0o755, exist_ok=True)
    owner = {"pid": os.getpid(), "start": start_time(os.getpid()), "namespaces": namespaces}
    (REGISTRY / f"{prefix}.json").write_text(json.dumps(owner))


def forget(prefix: str) -> None:
    (REGISTRY / f"{prefix}.json").unlink(missing_ok=True)


def inside(namespaces: list[str]) -> list[int]:
    """Ids of the processes whose network namespace is one of these."""
    inodes = {(NETNS / name).stat().st_ino for name in namespaces if (NETNS / name).exists()}
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            if os.stat(f"/proc/{entry.name}/ns/net").st_ino in inodes:
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def take_down(namespaces: list[str]) -> None:
    """Ends what lives in the namespaces, deletes them and their /etc/netns folders."""
    for pid in inside(namespaces):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    present = [name for name in namespaces if (NETNS / name).exists()]
    if present:
        batch = "".join(f"netns del {name}\n" for name in present)
        subprocess.run(["ip", "-force", "-batch", "-"], input=batch, text=True, capture_output=True, check=False)
    for name in namespaces:
        shutil.rmtree(NETNS_ETC / name, ignore_errors=True)


def reap() -> list[str]:
    """Takes down the worlds whose owner is gone; their prefixes."""
    reaped = []
    for path in sorted(REGISTRY.glob("*.json")) if REGISTRY.is_dir() else []:
        try:
            owner = json.loads(path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            continue  # another session was quicker, or is writing it now
        if start_time(owner["pid"]) != owner["start"]:
            take_down(owner["namespaces"])
            path.unlink(missing_ok=True)
            reaped.append(path.stem)
    return reaped
