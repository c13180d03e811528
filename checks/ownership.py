"""Who made an object, and who may undo a repair of it."""

OWNERS = (
    (("DOCKER", "docker0", "br-"), "Docker"),
    (("NETAVARK", "podman"), "Podman (netavark)"),
    (("KUBE-", "cni0", "kube"), "kube-proxy or the CNI plugin"),
    (("CNI-",), "a CNI plugin"),
    (("cali-", "cali"), "Calico"),
    (("LIBVIRT", "virbr"), "libvirt"),
    (("ufw",), "ufw"),
    (("firewalld",), "firewalld"),
    (("ts-", "tailscale"), "Tailscale"),
    (("lxcbr", "lxdbr", "incusbr"), "LXC or Incus"),
)


def owner_of(*words: str) -> str:
    """The program whose naming the words follow, or ""."""
    for marks, owner in OWNERS:
        if any(word.startswith(mark) for word in words if word for mark in marks):
            return owner
    return ""


def reverts(owner: str) -> str:
    """The sentence for a repair that its owner may undo."""
    return f"{owner} may write it anew when it restarts or reloads" if owner else ""


def lasting_sysctl(key: str, value: str) -> str:
    dotted = key.replace("/", ".")
    return f"put `{dotted} = {value}` in a file under /etc/sysctl.d/; a file there or a network daemon may set it back"
