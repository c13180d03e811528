"""Real packets and what was seen of them: whether it is broken, never why."""
