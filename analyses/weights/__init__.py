"""What attention weights look like, and how they move over checkpoints."""
