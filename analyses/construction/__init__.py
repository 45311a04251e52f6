"""The theory side: a layer trained to be gradient descent, beside the weights that are it by construction."""
