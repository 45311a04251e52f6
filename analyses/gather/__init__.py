"""The cells of a sweep put together: what was found along its axes, and how sure that is."""
