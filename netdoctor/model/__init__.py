"""The nouns: what was seen, what was walked, what was found, what would mend it. Data only.

Addresses are canonical text ("10.0.0.2", "2001:db8::1"), prefixes "10.0.0.0/24", MACs "02:00:00:00:00:01":
they print, compare and serialise as they are; walk.addressing turns them into ipaddress objects.
"""
