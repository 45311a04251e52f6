"""How a model is observed: what to record, the taps, the shared prefix and the self-check."""
