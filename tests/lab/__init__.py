"""A laboratory of throw-away network namespaces: worlds that play hosts, containers, routers and the internet.

Everything is a namespace named nd-XXXXXX-ROLE, the host role too, so worlds stand side by side and the machine's own
network is never touched. `with World("veth") as world:` is all a test needs; the `world` fixture does the same.
"""

from .topology import TOPOLOGIES, Topology
from .world import LabError, World

__all__ = ["TOPOLOGIES", "LabError", "Topology", "World"]
