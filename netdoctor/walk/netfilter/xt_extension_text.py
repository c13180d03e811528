"""Matches on IPv6 extension headers, and AH of both versions, as ip6tables-save prints them (extensions/libip6t_*.c)."""

import struct

from netdoctor.model.expression import XtMatch

from .xt_match_text import Names, Text
from .xt_protocol_text import spis
from .xt_words import ip_text, joined, mask_suffix, option, span

EVERY = (0, 0xFFFFFFFF)
ANY_LENGTH = 0xFF
HEADERS = (
    (128, "hop-by-hop"), (64, "ipv6-opts"), (32, "ipv6-route"), (16, "ipv6-frag"), (8, "ah"), (4, "esp"),
    (2, "ipv6-nonxt"), (1, "prot"),
)  # fmt: skip
COMPARISONS = ("eq", "gt", "lt")


def _ah(match: XtMatch, names: Names) -> str:
    """struct ipt_ah; struct ip6t_ah has the header's length and reserved bits besides."""
    if names.version == 4:
        return spis("--ahspi", *struct.unpack_from("=2IB", match.info))
    low, high, length, reserved, invert = struct.unpack_from("=3I2B", match.info)
    return joined(
        spis("--ahspi", low, high, invert & 1),
        option("--ahlen", str(length), invert & 2) if length or invert & 2 else "", "--ahres" if reserved else "",
    )  # fmt: skip


def _frag(match: XtMatch, names: Names) -> str:
    low, high, length, flags, invert = struct.unpack_from("=3I2B", match.info)
    named = ((4, "--fragres"), (8, "--fragfirst"), (16, "--fragmore"), (32, "--fraglast"))
    return joined(
        option("--fragid", span(low, high), invert & 1) if (low, high) != EVERY else "",
        option("--fraglen", str(length), invert & 2) if length or invert & 2 else "",
        *(word for bit, word in named if flags & bit),
    )


def _options(match: XtMatch, names: Names) -> str:
    """struct ip6t_opts: flags 1 length, 2 options, 4 not strict. An option is its type and perhaps its length."""
    length, flags, invert = struct.unpack_from("=I2B", match.info)
    wanted = struct.unpack_from("=16H", match.info, 6)[: match.info[38]]
    shown = (str(one >> 8) + ("" if one & 0xFF == ANY_LENGTH else f":{one & 0xFF}") for one in wanted)
    return joined(
        option(f"--{match.name}-len", str(length), invert & 1) if flags & 1 else "",
        f"--{match.name}-opts {','.join(shown)}" if flags & 2 else "",
        f"--{match.name}-not-strict" if flags & 4 else "",
    )


def _rt(match: XtMatch, names: Names) -> str:
    kind, low, high, length, flags, invert = struct.unpack_from("=4I2B", match.info)
    hops = [ip_text(match.info[at : at + 16]) for at in range(20, 20 + 16 * min(match.info[276], 16), 16)]
    return joined(
        option("--rt-type", str(kind), invert & 1) if flags & 1 else "",
        option("--rt-segsleft", span(low, high), invert & 2) if (low, high) != EVERY else "",
        option("--rt-len", str(length), invert & 4) if flags & 4 else "", "--rt-0-res" if flags & 8 else "",
        f"--rt-0-addrs {','.join(hops)}" if flags & 16 else "", "--rt-0-not-strict" if flags & 32 else "",
    )  # fmt: skip


def _ipv6header(match: XtMatch, names: Names) -> str:
    asked, invert, soft = match.info[:3]
    headers = ",".join(name for bit, name in HEADERS if asked & bit)
    return joined(option("--header", headers, invert), "--soft" if soft else "")


def _mh(match: XtMatch, names: Names) -> str:
    low, high, invert = match.info[:3]
    return option("--mh-type", span(low, high), invert & 1) if (low, high) != (0, 255) or invert & 1 else ""


def _srh(match: XtMatch, names: Names) -> str:
    """struct ip6t_srh and ip6t_srh1, which has the previous, next and last segment with their masks besides."""
    following, *numbers, tag = struct.unpack_from("=4BH", match.info)
    asked, invert = struct.unpack_from("=2H", match.info, 104 if match.revision else 6)
    words = [option("--srh-next-hdr", str(following), invert & 1)] if asked & 1 else []
    bit = 2
    for name, number in zip(("hdr-len", "segs-left", "last-entry"), numbers, strict=True):
        for comparison in COMPARISONS:
            words += [option(f"--srh-{name}-{comparison}", str(number), invert & bit)] if asked & bit else []
            bit <<= 1
    words += [option("--srh-tag", str(tag), invert & 0x400)] if asked & 0x400 else []
    for index, name in enumerate(("psid", "nsid", "lsid")):
        raw, mask = (match.info[at : at + 16] for at in (8 + 16 * index, 56 + 16 * index))
        bit = 0x800 << index
        words += [option(f"--srh-{name}", ip_text(raw) + mask_suffix(mask), invert & bit)] if asked & bit else []
    return " ".join(words)


def _eui64(match: XtMatch, names: Names) -> str:
    return ""


TEXTS: dict[str, Text] = {
    "ah": _ah, "frag": _frag, "hbh": _options, "dst": _options, "rt": _rt, "ipv6header": _ipv6header, "mh": _mh,
    "srh": _srh, "eui64": _eui64,
}  # fmt: skip
