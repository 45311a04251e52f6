"""The index of runs: one page over many run directories."""
