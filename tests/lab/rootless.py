"""Becoming root of namespaces of our own, so that an ordinary user can run the laboratory.

A user namespace in which this user is root, with its own network and mounts: an empty /run (for /run/netns and the
xtables lock) and an /etc on which /etc/netns can be made. Children inherit it, pytest's workers too.
"""

import ctypes
import os
import subprocess
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MOUNTS = """
set -e
mount --make-rprivate /
mount -t tmpfs run /run
mkdir -p /run/netns /run/lock /run/upper /run/work /run/tmp
mount -t sysfs sysfs /sys || true
mount -t overlay etc -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work,userxattr /etc
mkdir -p /etc/netns
mount -t tmpfs netns /etc/netns
"""


class NotPermitted(Exception):
    """This machine gives an ordinary user no user namespace; the message says which step failed."""


def become_root() -> None:
    """Moves this (single-threaded) process into new user, mount and network namespaces. Raises NotPermitted."""
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) != 0:
        raise NotPermitted(f"unshare: {os.strerror(ctypes.get_errno())}")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    done = subprocess.run(["sh", "-c", MOUNTS], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotPermitted(done.stderr.strip())
    os.environ["PYTEST_DEBUG_TEMPROOT"] = "/run/tmp"  # the real root's folder in /tmp is not ours
