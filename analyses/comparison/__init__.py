"""In-context learning and finetuning side by side: one comparison, and a grid of them."""
