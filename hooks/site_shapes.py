"""How large what a site records of one token in one layer is."""

from __future__ import annotations

from ..models.projections import HeadGeometry
from .plan import SITES_OF_THE_CALL, Site

# Those that have something for each head.
OF_EACH_HEAD: tuple[Site, ...] = (*SITES_OF_THE_CALL, "head_output")


def site_shape(site: Site, geometry: HeadGeometry, width: int, columns: int) -> tuple[int, ...]:
    """Return the axes of a site behind prompts, layers and positions.

    Args:
        site: The site.
        geometry: Head counts and widths of the layer.
        width: The model's width d.
        columns: How many keys are recorded, Q.
    """
    if site in ("scores", "pattern"):
        return geometry.heads, columns
    if site == "queries":
        return geometry.heads, geometry.head_width
    if site == "keys":
        return geometry.key_value_heads, geometry.head_width
    if site == "values":
        return geometry.key_value_heads, geometry.value_width or geometry.head_width
    return (geometry.heads, width) if site == "head_output" else (width,)
