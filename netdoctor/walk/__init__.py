"""Snapshot and Flow -> RoundTrip: the packet's way as the kernel would take it. Pure."""
