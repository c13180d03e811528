"""resolv.conf and hosts as the container's processes see them (ip-netns(8): /etc/netns/NAME over /etc)."""

import os

from netdoctor.model.network import ResolvConf
from netdoctor.model.unknown import Unknown


def read_resolver(names: tuple[str, ...], path: str) -> ResolvConf | Unknown:
    """`names`: the namespace's names under /run/netns; `path`: /proc/PID/ns/net for one named by a process."""
    try:
        resolv = _first(names, path, "resolv.conf")
        hosts = _first(names, path, "hosts")
        servers, search, options = _parse_resolv(_text(resolv))
        return ResolvConf(
            path=resolv,
            nameservers=servers,
            search=search,
            options=options,
            hosts_path=hosts,
            hosts=_parse_hosts(_text(hosts)),
        )
    except OSError as error:
        return Unknown(f"{error.filename}: {error.strerror}")


def _first(names: tuple[str, ...], path: str, file: str) -> str:
    """The file that a process in the namespace opens as /etc/`file`."""
    parts = path.split("/")
    if len(parts) > 2 and parts[1] == "proc" and parts[2].isdigit():
        return f"/proc/{parts[2]}/root/etc/{file}"
    own = [f"/etc/netns/{name}/{file}" for name in names]
    return next((candidate for candidate in own if os.path.exists(candidate)), f"/etc/{file}")


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except FileNotFoundError:
        return ""


def _parse_resolv(content: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """nameserver, search (the last wins) and options, as resolv.conf(5) has them."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in content.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = tuple(words[1:])
        elif words[0] == "options":
            options += words[1:]
    return tuple(servers[:3]), search, tuple(options)


def _parse_hosts(content: str) -> dict[str, tuple[str, ...]]:
    """name (lower case) -> addresses, in the file's order."""
    found: dict[str, tuple[str, ...]] = {}
    for line in content.splitlines():
        words = line.split("#")[0].split()
        for name in words[1:]:
            found[name.lower()] = (*found.get(name.lower(), ()), words[0])
    return found
