"""What is probed: loading, the table of families, finetuning, and the embedded model."""
