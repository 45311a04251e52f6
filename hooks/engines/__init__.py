"""What runs a model and reads its attention: our tap, TransformerLens or nnsight, all filling the same capture."""
