"""Proves a case real: it works, breaks when the fault is injected, works again when it is repaired."""

from lab import LabError, World

from .cases import Case


def prepare(world: World, case: Case) -> None:
    """From the base world to the healthy state of the case. Raises LabError when that is not healthy."""
    world.sh(case.prepare)
    if case.healthy:
        broken = [spec for spec in case.probes if not world.probe(spec, tries=3)]
        if broken:
            raise LabError(f"{case.id}: fails before the fault: {', '.join(broken)}")


def inject(world: World, case: Case) -> None:
    """The fault. Raises LabError when something still works."""
    world.sh(case.inject)
    alive = [spec for spec in case.probes if world.probe(spec, tries=2)]
    if alive:
        raise LabError(f"{case.id}: passes in spite of the fault: {', '.join(alive)}")


def repair(world: World, case: Case) -> None:
    """The reference repair. Raises LabError when it does not help."""
    world.sh(case.repair)
    broken = [spec for spec in case.probes if not world.probe(spec, tries=4)]
    if broken:
        raise LabError(f"{case.id}: fails after the repair: {', '.join(broken)}")


def verify(case: Case) -> None:
    """Raises LabError unless the case is what it says."""
    with World(case.world) as world:
        prepare(world, case)
        if case.inject:
            inject(world, case)
            repair(world, case)
