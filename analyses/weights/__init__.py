"""What analyses of attention weights share: what is asked and read, and how a series of checkpoints is named."""
