"""In-context learning beside several ways of finetuning, its arms: order sensitivity, and output distributions."""
