"""The empirical sentences of both papers."""

from __future__ import annotations

from . import claims_of_barnatan, claims_of_shen2024
from .declaration import Claim

CLAIM_LIST: tuple[Claim, ...] = (*claims_of_shen2024.CLAIMS, *claims_of_barnatan.CLAIMS)
"""All claims."""
