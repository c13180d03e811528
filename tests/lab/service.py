"""The pretend internet inside one namespace: UDP DNS and an HTTP server.

usage: service.py ADDRESS[@DNSPORT[@HTTPPORT]] ...    binds both to each address, prints "ready", runs until killed

DNS: every name under .test is 8.8.8.8 and 2001:4860:4860::8888 (v4.test and v6.test only the one), others do not exist.
HTTP/1.1 as a real one: Content-Length is sent and obeyed, GET /N gives N bytes, POST is read and counted.
"""

import ipaddress
import os
import socket
import struct
import sys
import threading

ADDRESSES = {1: ipaddress.ip_address("8.8.8.8").packed, 28: ipaddress.ip_address("2001:4860:4860::8888").packed}
ONLY = {b"v4": 1, b"v6": 28}
PAGE_BYTES = 60_000


def dns_answer(query: bytes, *, room: bool = False) -> bytes:
    """The reply to one query with one question. What is asked of big.test is too long for UDP, where there is no room."""
    end = 12
    labels = []
    while query[end]:
        labels.append(query[end + 1 : end + 1 + query[end]].lower())
        end += 1 + query[end]
    (kind,) = struct.unpack("!H", query[end + 1 : end + 3])
    known = labels[-1:] == [b"test"]
    address = ADDRESSES.get(kind) if known and ONLY.get(labels[0], kind) == kind else None
    record = b"" if address is None else struct.pack("!HHHIH", 0xC00C, kind, 1, 60, len(address)) + address
    if labels[0] == b"big" and not room:
        return query[:2] + struct.pack("!HHHHH", 0x8380, 1, 0, 0, 0) + query[12 : end + 5]
    header = struct.pack("!HHHHH", 0x8180 if known else 0x8183, 1, 1 if address else 0, 0, 0)
    return query[:2] + header + query[12 : end + 5] + record


def serve_dns(sock: socket.socket) -> None:
    while True:
        query, peer = sock.recvfrom(4096)
        try:
            answer = dns_answer(query)
        except (IndexError, struct.error):
            continue
        try:
            sock.sendto(answer, peer)
        except OSError:
            continue  # a firewall or a missing route here: the fault under test, not ours


def serve_dns_stream(sock: socket.socket) -> None:
    """The same over TCP, one question a connection."""
    while True:
        connection, _ = sock.accept()
        connection.settimeout(2)
        with connection:
            try:
                answer = dns_answer(connection.recv(4096)[2:], room=True)
                connection.sendall(struct.pack("!H", len(answer)) + answer)
            except (IndexError, struct.error, OSError):
                continue


def answer_requests(connection: socket.socket) -> None:
    """Serves one connection until the client closes it or asks to."""
    with connection, connection.makefile("rb") as stream:
        while line := stream.readline(4096):
            words = line.split()
            headers: dict[bytes, bytes] = {}
            while (field := stream.readline(4096).strip()) and b":" in field:
                name, _, value = field.partition(b":")
                headers[name.lower()] = value.strip()
            body = stream.read(int(headers.get(b"content-length", b"0")))
            path = words[1].strip(b"/") if len(words) > 1 else b""
            size = int(path) if path.isdigit() else PAGE_BYTES
            reply = b"%d\n" % len(body) if words[:1] == [b"POST"] else b"x" * size
            close = b"close" in headers.get(b"connection", b"").lower() or words[-1:] == [b"HTTP/1.0"]
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n" % len(reply)
            connection.sendall(head + (b"Connection: close\r\n\r\n" if close else b"\r\n") + reply)
            if close:
                return


def serve_connection(connection: socket.socket) -> None:
    try:
        answer_requests(connection)
    except (ValueError, OSError):
        return  # a client that speaks nonsense or goes away is its own business


def serve_http(sock: socket.socket) -> None:
    while True:
        connection, _ = sock.accept()
        connection.settimeout(20)
        threading.Thread(target=serve_connection, args=(connection,), daemon=True).start()


def listen(address: str, kind: socket.SocketKind, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    if kind == socket.SOCK_STREAM:
        sock.listen(64)
    return sock


def main(places: list[str]) -> None:
    for place in places:
        address, *ports = place.split("@")
        dns_port, http_port = [int(port) for port in ports] + [53, 80][len(ports) :]
        for serve, kind, port in (
            (serve_dns, socket.SOCK_DGRAM, dns_port),
            (serve_dns_stream, socket.SOCK_STREAM, dns_port),
            (serve_http, socket.SOCK_STREAM, http_port),
        ):
            threading.Thread(target=serve, args=(listen(address, kind, port),), daemon=True).start()
    print("ready", flush=True)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # whoever reads us sees the end, and a killed session's pipes are not held open
    os.dup2(nowhere, 2)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1:])
