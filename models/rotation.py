"""Rotary positions that depend on how long the whole text is: LongRoPE and dynamic NTK.

LongRoPE (Phi-3-128k, Phi-3.5, Phi-4-mini) rotates every token of a text by other angles once the text is longer than
a boundary; with dynamic NTK every length beyond the boundary has angles of its own. Transformers decides by the
largest position of a batch, so texts of two kinds in one batch, or a cache of one kind under a text of the other,
rotate some of them as they are never rotated alone. Dynamic NTK also remembers the longest text so far.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .loading import LanguageModel

_LONGROPE = ("longrope", "su")
# Lengths of one regime are rotated alike.
Regime = tuple[int, ...]


@dataclass(frozen=True)
class Boundary:
    """A length up to which texts are rotated alike.

    Attributes:
        length: The longest such text, in tokens.
        graded: Whether beyond it every length has a rotation of its own, rather than all of them another one.
    """

    length: int
    graded: bool


@dataclass(frozen=True)
class Rotation:
    """How a model's rotation depends on the length of a text; not at all without boundaries.

    Attributes:
        boundaries: Where it changes, ascending.
    """

    boundaries: tuple[Boundary, ...]

    def regime(self, length: int) -> Regime:
        """Return what the lengths that are rotated alike have in common."""
        return tuple(
            0 if length <= boundary.length else length if boundary.graded else 1
            for boundary in self.boundaries
        )

    def alike(self, lengths: Sequence[int]) -> bool:
        """Tell whether texts of these lengths are all rotated alike."""
        return len({self.regime(length) for length in lengths}) <= 1


def rotation_of(model: LanguageModel) -> Rotation:
    """Read off a model how its rotation depends on the length of a text."""
    config = model.module.config.get_text_config()
    if not any(_depends(_kind(parameters)) for parameters in _schemes(config).values()):
        return Rotation(())
    # A module knows better than the configuration: HunYuan calls a rotation dynamic that is fixed.
    parts: list[Any] = [part for part in model.module.modules() if _kinds(part)]
    found = {each for part in parts for each in _boundaries(part.config, _kinds(part))}
    if not parts:
        found = _boundaries(config, {name: _kind(each) for name, each in _schemes(config).items()})
    return Rotation(tuple(sorted(found, key=lambda boundary: (boundary.length, boundary.graded))))


def stretched_context(config: Any, length: int) -> int:
    """Return how many tokens fit: dynamic NTK stretches the context that the configuration names."""
    factors = [
        float(parameters.get("factor") or 1.0)
        for parameters in _schemes(config).values()
        if _kind(parameters) == "dynamic"
    ]
    return int(length * max([1.0, *factors]))


@contextmanager
def fresh_rotation(module: torch.nn.Module) -> Iterator[None]:
    """Let every forward rotate as in a model that nothing ran in before; what was remembered comes back.

    Args:
        module: The model's module.
    """
    remembered, handles = [], []
    for part in module.modules():
        if any(map(_depends, _kinds(part).values())):
            remembered.append((part, {name: getattr(part, name) for name in _memory(part)}))
            handles.append(part.register_forward_pre_hook(_forget))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for part, memory in remembered:
            for name in _memory(part):
                if name not in memory:
                    delattr(part, name)
            for name, value in memory.items():
                setattr(part, name, value)


def remembers_texts(module: torch.nn.Module, buffer: str) -> bool:
    """Tell whether a buffer, by its dotted name, holds the rotation of the latest text and is no constant."""
    owner, _, name = buffer.rpartition(".")
    part = module.get_submodule(owner)
    return any(map(_depends, _kinds(part).values())) and name in _memory(part)


def _schemes(config: Any) -> dict[str, Mapping[str, Any]]:
    """Return the rotary parameters of each kind of layer, under an empty name where all layers share them."""
    parameters = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    nested = {name: each for name, each in parameters.items() if isinstance(each, Mapping)}
    return nested or {"": parameters}


def _kind(parameters: Mapping[str, Any]) -> str:
    return str(parameters.get("rope_type") or parameters.get("type") or "default")


def _depends(kind: str) -> bool:
    return kind in _LONGROPE or "dynamic" in kind


def _kinds(part: torch.nn.Module) -> dict[str, str]:
    """Return the scheme of each kind of layer that a rotary module serves; nothing for other modules."""
    kinds = getattr(part, "rope_type", None) or {}
    return dict(kinds) if isinstance(kinds, Mapping) else {"": str(kinds)}


def _boundaries(config: Any, kinds: Mapping[str, str]) -> set[Boundary]:
    """Return where the schemes of these kinds change."""
    found = set()
    for name, parameters in _schemes(config).items():
        kind = kinds.get(name, "default")
        if kind in _LONGROPE:
            original = parameters.get("original_max_position_embeddings")
            length = original or getattr(config, "original_max_position_embeddings", None)
            found.add(Boundary(int(length or config.max_position_embeddings), graded=False))
        elif "dynamic" in kind:
            found.add(Boundary(int(config.max_position_embeddings), graded=True))
    return found


def _memory(part: torch.nn.Module) -> list[str]:
    """Return the attributes in which a rotary module remembers the latest text, or the longest."""
    frequencies = [name.replace("original_inv_freq", "inv_freq") for name in _originals(part)]
    return frequencies + [name for name in vars(part) if name.endswith("max_seq_len_cached")]


def _originals(part: torch.nn.Module) -> list[str]:
    return [name for name, _ in part.named_buffers(recurse=False) if name.endswith("original_inv_freq")]


def _forget(part: Any, _: Any) -> None:
    """Bring a rotary module to where it was before its first forward."""
    for name in _originals(part):
        # A copy, for LongRoPE writes into the tensor that is there.
        setattr(part, name.replace("original_inv_freq", "inv_freq"), getattr(part, name).clone())
    for name in vars(part):
        if name.endswith("max_seq_len_cached"):
            setattr(part, name, part.original_max_seq_len)
