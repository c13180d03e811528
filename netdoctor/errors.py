"""The one error that the command line turns into a line on stderr and exit code 2."""


class NetdoctorError(Exception):
    """Usage, configuration, no such namespace, no permission: what, observed, expected, and what to do."""
