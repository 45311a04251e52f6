"""What of an update a layer's attention makes itself, and what it inherits from the layers below (R23)."""
