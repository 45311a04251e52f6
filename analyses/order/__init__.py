"""How much answers depend on the order of demonstrations, in context and finetuned (Shen et al. 2024, section 4)."""
