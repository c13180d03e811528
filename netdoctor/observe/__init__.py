"""Kernel -> Snapshot, read-only: one file a subject. `observer` answers the needs of the walk."""
