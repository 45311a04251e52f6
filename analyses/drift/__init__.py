"""How far attention weights move over checkpoints, beside accuracy in context (Shen et al. §3.3, App. B)."""
