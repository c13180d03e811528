"""A fact we could not read is a value, never None and never "off"."""

import msgspec


class Unknown(msgspec.Struct, frozen=True, tag="unknown"):
    """The fact was asked for and could not be had; `why` names the reason for a person."""

    why: str


UNREAD = Unknown("not read")
"""Nobody has asked for this fact yet: the walk that meets it asks by a Need."""
