"""Netfilter queues that a program listens on, of the calling thread's namespace. Source: nfnetlink_queue.c."""

LISTENERS = "/proc/thread-self/net/netfilter/nfnetlink_queue"


def read_queues() -> tuple[int, ...]:
    """The numbers of the bound queues; none where the kernel has no nfnetlink_queue. Raises PermissionError."""
    try:
        with open(LISTENERS, encoding="ascii") as listing:
            return tuple(int(line.split()[0]) for line in listing if line.strip())
    except FileNotFoundError:
        return ()
