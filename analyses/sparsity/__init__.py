"""How many entries of a checkpoint's attention weights are near zero, beside a construction's (Shen et al. §3.2)."""
