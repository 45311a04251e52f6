"""How far attention weights move over a series of checkpoints, beside accuracy in context (Shen et al. §3.3, App. B)."""
