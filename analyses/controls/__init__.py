"""The same comparison where there is nothing to find."""
