"""What finetuned models answer beside what is answered in context (Shen et al. 2024, section 5)."""
