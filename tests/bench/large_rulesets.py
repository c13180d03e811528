"""Large rulesets as text for `iptables-restore` or `nft -f`: kube-proxy's shape, and one flat chain."""

from collections.abc import Iterator

ENDPOINTS = 3
MARK = "0x4000/0x4000"
SERVED = "10.96.255.254"
"""The service with one endpoint only, which is the last of all: its way is sure and the longest."""


def _service(number: int) -> str:
    return f"10.96.{number >> 8 & 255}.{number & 255}"


def _pod(number: int) -> str:
    return f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def kube_iptables(services: int, server: str) -> str:
    """iptables-restore input as kube-proxy writes it: a chain a service, a chain an endpoint, 11 rules a service.

    SERVED:80 leads to `server`:80. FORWARD drops what it does not know.
    """
    chains = [
        ":KUBE-SERVICES - [0:0]",
        ":KUBE-NODEPORTS - [0:0]",
        ":KUBE-POSTROUTING - [0:0]",
        ":KUBE-MARK-MASQ - [0:0]",
    ]
    rules = [
        '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
        "-A POSTROUTING -s 10.0.0.0/24 -o wlp1s0 -j MASQUERADE",
        "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
        "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0",
        "-A KUBE-POSTROUTING -j MASQUERADE --random-fully",
    ]
    for number in range(services):
        pods = [_pod(number * ENDPOINTS + place) for place in range(ENDPOINTS)]
        more, lines = _iptables_service(
            f"{number:016X}", f"ns{number % 97}/svc-{number}:http", _service(number), pods, 8080
        )
        chains += more
        rules += lines
    more, lines = _iptables_service("SERVED", "default/web:http", SERVED, [server], 80)
    nodeports = (
        '-A KUBE-SERVICES -m comment --comment "service nodeports" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS'
    )
    nat = "\n".join(["*nat", *chains, *more, *rules, *lines, nodeports, "COMMIT"])
    forward = """
*filter
:FORWARD DROP [0:0]
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -i veth0 -o wlp1s0 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
"""
    return nat + forward


def _iptables_service(code: str, name: str, address: str, pods: list[str], port: int) -> tuple[list[str], list[str]]:
    said = f'-m comment --comment "{name} cluster IP"'
    service = f"KUBE-SVC-{code}"
    chains = [f":{service} - [0:0]"]
    rules = [
        f"-A KUBE-SERVICES -d {address}/32 -p tcp {said} -m tcp --dport 80 -j {service}",
        f"-A {service} ! -s 10.244.0.0/16 -d {address}/32 -p tcp {said} -m tcp --dport 80 -j KUBE-MARK-MASQ",
    ]
    for place, pod in enumerate(pods):
        left = len(pods) - place
        endpoint, to = f"KUBE-SEP-{code[-14:]}-{place}", f'-m comment --comment "{name} -> {pod}:{port}"'
        chance = f" -m statistic --mode random --probability {1 / left:.11f}" if left > 1 else ""
        chains.append(f":{endpoint} - [0:0]")
        rules += [
            f"-A {service} {to}{chance} -j {endpoint}",
            f'-A {endpoint} -s {pod}/32 -m comment --comment "{name}" -j KUBE-MARK-MASQ',
            f'-A {endpoint} -p tcp -m comment --comment "{name}" -m tcp -j DNAT --to-destination {pod}:{port}',
        ]
    return chains, rules


def kube_nft(services: int, server: str) -> str:
    """`nft -f` input as kube-proxy's nftables mode writes it: one verdict map of services, a chain a service and an
    endpoint; a set of cluster addresses, rejected where nothing serves them."""
    chains, elements = list[str](), list[str]()
    for number in range(services):
        pods = [_pod(number * ENDPOINTS + place) for place in range(ENDPOINTS)]
        chains += _nft_service(f"{number:08X}-ns{number % 97}/svc-{number}/tcp/http", _service(number), pods, 8080)
        elements.append(
            f"{_service(number)} . tcp . 80 : goto service-{number:08X}-ns{number % 97}/svc-{number}/tcp/http"
        )
    chains += _nft_service("SERVED-default/web/tcp/http", SERVED, [server], 80)
    elements.append(f"{SERVED} . tcp . 80 : goto service-SERVED-default/web/tcp/http")
    names = [line.split()[1] for line in chains if line.startswith("chain")]
    quoted = "\n".join(f"add chain ip kube-proxy {name}" for name in names)
    rules = "\n".join(_nft_lines(chains))
    return f"""
add table ip kube-proxy
{quoted}
table ip kube-proxy {{
  set cluster-ips {{ type ipv4_addr; elements = {{ {", ".join([_service(n) for n in range(services)] + [SERVED])} }}; }}
  map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; elements = {{ {", ".join(elements)} }}; }}
  map nodeports {{ type inet_proto . inet_service : verdict; }}
  set local {{ type ipv4_addr; flags interval; elements = {{ 10.0.0.0/24, 10.244.0.0/16 }}; }}
  chain mark-for-masquerade {{ meta mark set meta mark or 0x4000; }}
  chain services {{
    ip daddr . meta l4proto . th dport vmap @service-ips
    ip daddr != 127.0.0.0/8 fib daddr type local meta l4proto . th dport vmap @nodeports
  }}
  chain cluster-ips-check {{ ip daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"; }}
  chain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
  chain nat-output {{ type nat hook output priority -100; jump services; }}
  chain filter-forward {{ type filter hook forward priority -110; ct state new jump cluster-ips-check; }}
  chain forward {{
    type filter hook forward priority 0; policy drop;
    ct state vmap {{ established : accept, related : accept, invalid : drop }}
    iifname "veth0" ip saddr @local accept
  }}
  chain nat-postrouting {{
    type nat hook postrouting priority srcnat;
    meta mark & 0x4000 != 0 meta mark set meta mark xor 0x4000 masquerade fully-random
    ip saddr @local oifname "wlp1s0" masquerade
  }}
}}
{rules}
"""


def _nft_service(name: str, address: str, pods: list[str], port: int) -> list[str]:
    ends = [f"endpoint-{name}__{pod}/{port}" for pod in pods]
    chances = ", ".join(f"{place} : goto {end}" for place, end in enumerate(ends))
    pick = f"numgen random mod {len(ends)} vmap {{ {chances} }}" if len(ends) > 1 else f"goto {ends[0]}"
    lines = [
        f"chain service-{name}",
        f"ip daddr {address} tcp dport 80 ip saddr != 10.244.0.0/16 jump mark-for-masquerade",
        pick,
    ]
    for end, pod in zip(ends, pods, strict=True):
        lines += [f"chain {end}", f"ip saddr {pod} jump mark-for-masquerade", f"meta l4proto tcp dnat to {pod}:{port}"]
    return lines


def _nft_lines(chains: list[str]) -> Iterator[str]:
    """`add rule` commands: chains are named before the maps that lead to them."""
    chain = ""
    for line in chains:
        if line.startswith("chain "):
            chain = line.removeprefix("chain ")
        else:
            yield f"add rule ip kube-proxy {chain} {line}"


def flat_iptables(rules: int, last: str) -> str:
    """One FORWARD chain of that many rules that do not fit, then `last`."""
    lines = [
        f'-A FORWARD -s 172.{16 + (n >> 16)}.{n >> 8 & 255}.{n & 255}/32 -p tcp -m tcp --dport {1 + n % 65000} '
        f'-m comment --comment "rule {n}" -j DROP'
        for n in range(rules - 1)
    ]  # fmt: skip
    return "\n".join(["*filter", *lines, last, "COMMIT", ""])


def flat_nft(rules: int, last: str) -> str:
    """One forward chain of that many rules that do not fit, then `last`."""
    lines = [
        f'ip saddr 172.{16 + (n >> 16)}.{n >> 8 & 255}.{n & 255} tcp dport {1 + n % 65000} drop comment "rule {n}"'
        for n in range(rules - 1)
    ]
    body = "\n".join([*lines, last])
    return f"table inet flat {{ chain forward {{ type filter hook forward priority 0; policy accept;\n{body}\n}}; }}\n"
