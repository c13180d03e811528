"""The walk against the kernel: random rulesets, real packets, and which rules' counters moved."""
