"""Tunnels whose MTU leaves no room for their headers, on the kernel."""

import pytest
from lab import World

OVERLAY = """
ip addr add 198.18.77.1/24 dev wlp1s0; inet ip addr add 198.18.77.2/24 dev up0
ip link add vx0 type vxlan id 42 remote 198.18.77.2 dstport 4789 dev wlp1s0
ip addr add 10.200.0.1/24 dev vx0; ip link set vx0 up
inet ip link add vx0 type vxlan id 42 remote 198.18.77.1 dstport 4789 dev up0
inet ip addr add 10.200.0.2/24 dev vx0; inet ip link set vx0 up
ip link set wlp1s0 mtu 1400; inet ip link set up0 mtu 1400"""
NO_PIECES = """
inet nft add table netdev u
inet nft 'add chain netdev u in { type filter hook ingress device "up0" priority 0 ; }'
inet nft 'add rule netdev u in ip frag-off & 0x3fff != 0 drop'"""


@pytest.mark.usefixtures("lab")
def test_a_tunnel_that_sends_pieces_works_where_they_arrive() -> None:
    with World("veth") as world:
        world.sh(OVERLAY)
        said = world.netdoctor("check", "host", "--to", "10.200.0.2")
        assert (said.code, said.report["root_causes"]) == (0, [])


@pytest.mark.usefixtures("lab")
def test_a_tunnel_whose_pieces_are_lost_is_made_smaller() -> None:
    with World("veth") as world:
        world.sh(OVERLAY + NO_PIECES)
        said = world.netdoctor("check", "host", "--to", "10.200.0.2")
        assert said.code == 1
        (cause,) = said.report["root_causes"]
        assert (cause["id"], cause["object"]) == ("tunnel-mtu-too-big", "MTU 1450 of vx0")
        assert cause["fix"] == [["ip", "link", "set", "dev", "vx0", "mtu", "1350"]]


@pytest.mark.usefixtures("lab")
def test_a_path_mtu_that_the_kernel_has_learned_is_no_fault() -> None:
    with World("veth") as world:
        world.sh(OVERLAY + NO_PIECES)
        for _ in range(3):
            world.probe("host: ping 10.200.0.2 size=1400")
        assert "mtu 1350" in world.sh("ip route get 10.200.0.2")
        assert world.netdoctor("check", "host", "--to", "10.200.0.2").code == 0
