"""What a comparison is at every step and learning rate, and where finetuning answers as ICL does."""
