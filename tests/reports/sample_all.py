"""Every sample report by name."""

from collections.abc import Callable

from netdoctor.model.diagnosis import Report

from .sample_odd import failed, hostile, overlay, reply_lost, undetermined
from .sample_worlds import double_fault, fixed, healthy, warned, wrong_egress

ALL: dict[str, Callable[[], Report]] = {
    made.__name__: made
    for made in (
        healthy, warned, wrong_egress, fixed, double_fault, undetermined, hostile, overlay, reply_lost, failed,
    )
}  # fmt: skip
