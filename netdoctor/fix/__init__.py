"""Repair: a Change is data with four readings: as typed (argv), inverse, effect on the model, kernel write (apply)."""
