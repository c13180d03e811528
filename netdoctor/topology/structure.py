"""Interfaces that come and go with a topology: veth pairs and bridges, written through pyroute2."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from netdoctor.netlink.inside import Worker

if TYPE_CHECKING:
    from pyroute2 import IPRoute


def make_veth(worker: Worker, host: int, name: str, container: int, peer: str) -> None:
    """A veth pair: `name` in the namespace behind fd `host`, `peer` in the one behind `container`. Raises OSError."""
    _run(
        worker,
        host,
        lambda ip: ip.link("add", ifname=name, kind="veth", peer={"ifname": peer, "net_ns_fd": container}),
    )


def make_bridge(worker: Worker, host: int, name: str, mac: str) -> None:
    _run(worker, host, lambda ip: ip.link("add", ifname=name, kind="bridge", address=mac))


def unmake_link(worker: Worker, host: int, name: str) -> bool:
    """Deletes an interface (a veth with its peer); False when there is none."""

    def delete(ip: "IPRoute") -> bool:
        found = ip.link_lookup(ifname=name)
        if found:
            ip.link("del", index=found[0])
        return bool(found)

    return bool(_run(worker, host, delete))


def _run(worker: Worker, fd: int, act: Callable[["IPRoute"], Any]) -> Any:
    def write() -> Any:
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            with IPRoute() as ip:
                return act(ip)
        except NetlinkError as error:
            raise OSError(error.code, os.strerror(error.code)) from error

    return worker.run(fd, write)
