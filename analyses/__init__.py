"""Experiments: the three settings compared, and what a run directory holds."""
