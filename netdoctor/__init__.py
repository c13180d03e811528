"""netdoctor: a doctor for container networking on Linux."""

__version__ = "0.1.0"
