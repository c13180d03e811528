"""One way through a tree of choices, and the next one after it."""


class Choices:
    """What is chosen wherever one thing or another may happen; beyond the given path the first is taken.

    Running something again with `following()` until there is none visits every leaf of its tree of choices once,
    provided that it asks in the same order when it was answered the same.
    """

    def __init__(self, path: tuple[int, ...] = ()) -> None:
        self._path = path
        self.taken: list[int] = []
        self.widths: list[int] = []

    def choose(self, width: int) -> int:
        """A number below `width`, which is at least 1."""
        place = len(self.taken)
        taken = self._path[place] if place < len(self._path) else 0
        self.taken.append(taken)
        self.widths.append(width)
        return taken

    def following(self) -> "Choices | None":
        """The next way: the last choice that has another answer left gets it. None when this was the last."""
        for place in range(len(self.taken) - 1, -1, -1):
            if self.taken[place] + 1 < self.widths[place]:
                return Choices((*self.taken[:place], self.taken[place] + 1))
        return None
