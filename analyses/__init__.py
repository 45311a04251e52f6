"""Experiments: what is run, what is measured, and what a run directory holds."""
