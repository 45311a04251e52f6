"""A capture as TransformerLens's ActivationCache, and such a cache as what a capture is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import torch
from einops import rearrange
from torch import Tensor

from ..errors import UserError, shown
from .engines.lens_bridge import EXTRA, is_bridge, refuse_processed
from .engines.lens_sites import hook_of
from .engines.packages import require_package
from .plan import SITES, Site
from .rows import take_rows
from .wanted_rows import rows_at

if TYPE_CHECKING:
    from .captured import Capture

# What each site is called where no bridge says otherwise: the hooks that give it in most architectures.
NAMES: dict[Site, str] = {
    "attention_output": "attn.o.hook_out",
    "head_output": "attn.hook_result",
    "scores": "attn.hook_attn_scores",
    "pattern": "attn.hook_pattern",
    "queries": "attn.hook_rot_q",
    "keys": "attn.hook_rot_k",
    "values": "attn.hook_v",
    "residual_before": "hook_resid_pre",
    "residual_middle": "hook_resid_mid",
    "residual": "hook_resid_post",
    "mlp_input": "mlp.hook_in",
    "mlp_output": "mlp.hook_out",
}
_OVER_KEYS: tuple[Site, ...] = ("scores", "pattern")
_SAME = 1e-3
CachePositions = Literal["all", "last_prompt_token"] | tuple[int, ...]


def to_activation_cache(capture: Capture, bridge: Any = None) -> Any:
    """Return what a capture holds as an ActivationCache; see `Capture.to_activation_cache`."""
    require_package(EXTRA)
    from transformer_lens import ActivationCache

    entries: dict[str, Tensor] = {}
    for site, array in _recorded(capture).items():
        array = array if capture.rows is not None else rearrange(array, "n l ... -> n l 1 ...")
        if site == "scores":
            assert capture.visible is not None
            visible = capture.visible if capture.rows is not None else capture.visible[:, :, None]
            array = array.masked_fill(~visible, torch.finfo(array.dtype).min)
        if site in _OVER_KEYS:
            array = rearrange(array, "n l p h k -> n l h p k")
        for place, layer in enumerate(capture.layers):
            for name in _names(bridge, site, layer):
                entries[name] = array[:, place]
    return ActivationCache(entries, bridge)


def fields_of_cache(cache: Any, mask: Any = None, positions: CachePositions = "all") -> dict[str, Any]:
    """Return the fields of the capture that a cache holds; see `Capture.from_activation_cache`.

    Raises:
        UserError: If it holds no site, layers differ in what they hold, a mask does not fit, the scores are not what
            the softmax sees, or the weights of the cache's bridge were processed.
    """
    bridge = getattr(cache, "model", None)
    bridge = bridge if is_bridge(bridge) else None
    if bridge is not None:
        refuse_processed(bridge)
    entries: Mapping[str, Any] = getattr(cache, "cache_dict", cache)
    if not getattr(cache, "has_batch_dim", True):
        entries = {name: tensor[None] for name, tensor in entries.items()}
    layers = sorted({int(name.split(".")[1]) for name in entries if name.startswith("blocks.")})
    found: dict[Site, list[Tensor] | None] = {
        site: _of_layers(entries, bridge, site, layers) for site in SITES
    }
    arrays: dict[Site, list[Tensor]] = {
        site: tensors for site, tensors in found.items() if tensors is not None
    }
    if not arrays:
        raise UserError(
            f"this cache holds none of the hooks that captures are made of ({', '.join(list(NAMES.values())[:4])}, "
            "…): record them with run_with_cache"
        )
    exists = _exists(arrays, mask)
    rows, existing = rows_at(positions, exists)
    width = next(
        (tensors[0].shape[-1] for site, tensors in arrays.items() if site in _OVER_KEYS), exists.shape[1]
    )
    past = torch.ones(len(exists), width - exists.shape[1], dtype=torch.bool)
    fields: dict[str, Any] = {
        site: torch.stack([_rows(tensor, site, rows) for tensor in tensors], dim=1)
        for site, tensors in arrays.items()
    }
    if "scores" in fields:
        # The bridge hides keys by the lowest number of its dtype, or by minus infinity.
        fields["visible"] = (fields["scores"] > -1e4).any(dim=3, keepdim=True)
        _require_softmax_input(fields["scores"], fields["visible"], fields.get("pattern"))
        fields["scores"] = fields["scores"].masked_fill(~fields["visible"], 0.0)
    if positions == "last_prompt_token":
        fields = {name: rearrange(array, "n l 1 ... -> n l ...") for name, array in fields.items()}
        fields["row_tokens"] = rows[:, 0] + past.shape[1]
    else:
        fields["rows"] = existing
        fields["row_tokens"] = torch.where(existing, rows + past.shape[1], -1)
    manifest = {
        "engine": EXTRA,
        "engine_version": version(EXTRA) if bridge is not None else "",
        "model": str(getattr(getattr(bridge, "cfg", None), "model_name", "")),
        "score_space": "softmax_input",
        "positions": positions,
        "columns": "all",
        "first_column": 0,
    }
    return {
        "layers": tuple(layers),
        "columns": torch.cat([past, exists], dim=1),
        **fields,
        "manifest": manifest,
    }


def _recorded(capture: Capture) -> dict[Site, Tensor]:
    arrays = capture.arrays()
    return {site: arrays[site] for site in SITES if site in arrays}


def _names(bridge: Any, site: Site, layer: int) -> list[str]:
    """Return every name under which TransformerLens has a site of a layer, aliases included."""
    if bridge is None or site == "head_output":
        return [f"blocks.{layer}.{NAMES[site]}"]
    hooks = bridge.hook_dict
    points = [hooks[hook_of(bridge, site, layer)]]
    alias = hooks.get(f"blocks.{layer}.hook_attn_out")
    if site == "attention_output" and alias is not None and alias.name == f"blocks.{layer}.attn.hook_out":
        # Where no norm stands between them, what attention returns is what its output projection does.
        points.append(alias)
    return [name for name, other in hooks.items() if any(other is point for point in points)]


def _of_layers(
    entries: Mapping[str, Any], bridge: Any, site: Site, layers: Sequence[int]
) -> list[Tensor] | None:
    """Return a site of every layer, or None where no layer has it."""
    found = []
    for layer in layers:
        try:
            names = _names(bridge, site, layer)
        except UserError:
            # The architecture has no such hook, so the cache has none either.
            names = []
        found.append(next((entries[name] for name in names if name in entries), None))
    if all(tensor is None for tensor in found):
        return None
    missing = next((layer for layer, tensor in zip(layers, found, strict=True) if tensor is None), None)
    if missing is not None:
        raise UserError(
            f"this cache holds {site} of some layers and not of layer {missing}, and a capture holds the same of "
            "all: filter its names, or record the rest"
        )
    return [tensor.detach().cpu() for tensor in found if tensor is not None]


def _exists(arrays: Mapping[Site, list[Tensor]], mask: Any) -> Tensor:
    site, tensors = next(iter(arrays.items()))
    batch, tokens = tensors[0].shape[0], tensors[0].shape[2 if site in _OVER_KEYS else 1]
    if mask is None:
        return torch.ones(batch, tokens, dtype=torch.bool)
    exists = torch.as_tensor(mask).bool().cpu()
    if tuple(exists.shape) != (batch, tokens):
        raise UserError(
            f"the mask {shown(tuple(exists.shape))} does not fit a cache of {(batch, tokens)} tokens"
        )
    return exists


def _rows(tensor: Tensor, site: Site, rows: Tensor) -> Tensor:
    """Return the wanted rows of a cached activation, ``[N, P, …]``."""
    if site in _OVER_KEYS:
        tensor = rearrange(tensor, "n h s k -> n s h k")
    return take_rows(tensor, rows)


def _require_softmax_input(scores: Tensor, visible: Tensor, pattern: Tensor | None) -> None:
    """Refuse what some architectures' hook_attn_scores hold: the pattern a second time.

    Raises:
        UserError: If it is so.
    """
    expected = torch.softmax(scores.masked_fill(~visible, float("-inf")), dim=-1).nan_to_num(0.0)
    if pattern is not None:
        # Sinks take a share of each row, which says nothing about the scores.
        normalised = pattern / pattern.sum(dim=-1, keepdim=True).clamp(min=1e-30)
        wrong = not torch.allclose(expected, normalised, atol=_SAME)
    else:
        ones = torch.ones(scores.shape[:-1])
        wrong = bool((scores >= 0).all()) and torch.allclose(scores.sum(dim=-1), ones, atol=_SAME)
    if wrong:
        raise UserError(
            "hook_attn_scores of this cache is not what the softmax sees, as in architectures whose own attention "
            "TransformerLens wraps (GPT-J, OPT, GPT-Neo, XGLM): leave it out of the cache"
        )
