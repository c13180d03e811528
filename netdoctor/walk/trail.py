"""What the walk leaves behind: steps in order, and the two ways a walk ends early."""

from typing import NoReturn

from netdoctor.model.journey import Because, Direction, Outcome, Step, StepKind
from netdoctor.model.snapshot import NamespaceId


class Dead(Exception):
    """The packet dies at this step."""

    def __init__(self, step: Step) -> None:
        super().__init__(step.summary)
        self.step = step


class Left(Exception):
    """The packet goes where nothing can be seen; the last step says where."""


class Trail:
    """The steps of one direction so far."""

    def __init__(self, direction: Direction = "forward") -> None:
        self.direction: Direction = direction
        self.steps: list[Step] = []

    def add(self, step: Step) -> None:
        self.steps.append(step)

    def passed(
        self,
        kind: StepKind,
        namespace: NamespaceId,
        summary: str,
        *because: Because,
        device: str = "",
        packet: str = "",
    ) -> None:
        self.add(self.step(kind, namespace, "pass", summary, *because, device=device, packet=packet))

    def step(
        self,
        kind: StepKind,
        namespace: NamespaceId,
        outcome: Outcome,
        summary: str,
        *because: Because,
        device: str = "",
        packet: str = "",
        cause: str = "",
        facts: dict[str, str] | None = None,
    ) -> Step:
        return Step(
            kind=kind,
            namespace=namespace,
            outcome=outcome,
            summary=summary,
            device=device,
            direction=self.direction,
            packet=packet,
            because=because,
            cause=cause,
            facts=facts or {},
        )

    def dies(self, step: Step) -> NoReturn:
        self.add(step)
        raise Dead(step)

    def leaves(self, step: Step) -> NoReturn:
        self.add(step)
        raise Left(step.summary)
