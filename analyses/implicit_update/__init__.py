"""In-context learning as a change of the MLPs' weights (Dherin et al. 2025)."""
