"""One connectivity probe inside the namespace it runs in. Exit 0: it works, 1: it does not (and why, on stderr).

usage: probe.py KIND DEST [option=value ...]
  ping ADDRESS [size=N] [df=1]       one echo of N data bytes, answered within a second
  tcp ADDRESS:PORT [source=A]        a connection is accepted
  bulk ADDRESS:PORT [up=N] [down=N]  HTTP: N bytes really go up and N come down (60000 each)
  udp ADDRESS:PORT                   a DNS query sent there is answered
  name NAME                          NAME resolves by /etc/hosts and /etc/resolv.conf
  web NAME:PORT                      NAME resolves and a connection to it is accepted

Independent of the tool under test on purpose: it shares no line with it.
"""

import os
import socket
import struct
import subprocess
import sys
import time

TIMEOUT_S = 1.5


def place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def ping(address: str, size: str = "56", df: str = "") -> bool:
    command = ["ping", "-n", "-q", "-c1", "-W1", "-s", size, *(["-M", "do"] if df else []), address]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def tcp(dest: str, source: str = "") -> bool:
    with socket.create_connection(place(dest), TIMEOUT_S, (source, 0) if source else None):
        return True


def bulk(dest: str, up: str = "60000", down: str = "60000") -> bool:
    deadline = time.monotonic() + 2.5
    with socket.create_connection(place(dest), TIMEOUT_S) as connection:
        connection.settimeout(2.5)
        head = f"GET /{down} HTTP/1.0\r\nHost: probe\r\nContent-Length: {up}\r\n\r\n"
        connection.sendall(head.encode() + b"x" * int(up))
        got = b""
        while time.monotonic() < deadline and (chunk := connection.recv(65536)):
            got += chunk
        return len(got.partition(b"\r\n\r\n")[2]) == int(down)


def ask(server: str, port: int, name: str) -> list[str] | None:
    """IPv4 addresses in the answer to one query; None when none came."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    ident = os.urandom(2)
    query = ident + struct.pack("!5H", 0x100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, 1, 1)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        sock.connect((server, port))
        for _ in range(2):
            sock.send(query)
            try:
                reply = sock.recv(4096)
            except TimeoutError:
                continue
            if reply[:2] == ident:
                return [socket.inet_ntoa(reply[-4:])] if struct.unpack("!H", reply[6:8])[0] else []
    return None


def udp(dest: str) -> bool:
    return ask(*place(dest), "probe.test") is not None


def words_of(path: str) -> list[list[str]]:
    try:
        with open(path, encoding="utf-8") as file:
            return [words for line in file if (words := line.split("#")[0].split())]
    except FileNotFoundError:
        return []


def resolve(name: str) -> str:
    """The address of NAME, or "" """
    for address, *names in words_of("/etc/hosts"):
        if name in names:
            return address
    servers = [words[1] for words in words_of("/etc/resolv.conf") if words[0] == "nameserver" and len(words) > 1]
    for server in servers or ["127.0.0.1"]:
        try:
            found = ask(server, 53, name)
        except OSError:
            continue
        if found is not None:
            return found[0] if found else ""
    return ""


def name(dest: str) -> bool:
    return bool(resolve(dest))


def web(dest: str) -> bool:
    host, port = place(dest)
    address = resolve(host)
    return bool(address) and tcp(f"{address}:{port}")


PROBES = {"ping": ping, "tcp": tcp, "bulk": bulk, "udp": udp, "name": name, "web": web}


def main(kind: str, dest: str, *options: str) -> bool:
    try:
        return PROBES[kind](dest, **dict(option.split("=", 1) for option in options))
    except OSError as error:
        print(f"{kind} {dest}: {error}", file=sys.stderr)
        return False


if __name__ == "__main__":
    sys.exit(0 if main(*sys.argv[1:]) else 1)
