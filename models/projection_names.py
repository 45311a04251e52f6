"""Which tensors of a checkpoint are the attention projections: by a family's row, or by a pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ..errors import UserError, shown
from .families import Family
from .matrices import MATRICES, Matrix
from .tensor_source import told
from .wrapper_prefixes import unwrapped, unwrapped_names

ProjectionNames = dict[tuple[int, Matrix], str]

# What quantised checkpoints call the pieces that a weight was taken apart into.
_QUANTISED_ENDINGS = (".qweight", ".weight_packed", ".weight_quantized", ".codes", ".blocks", ".W_q")


def names_by_family(
    names: Iterable[str], family: Family, label: str, model_type: str | None = None
) -> ProjectionNames:
    """Find the weights of all layers where a family's row says they are.

    In files the row's path to the layers may be without its first parts (a base model saved by itself) or
    behind a prefix (a wrapper around the model, or around any part of it). Other towers of a multimodal
    checkpoint, whose layers lie elsewhere, are left alone.

    Args:
        names: The names of all tensors.
        family: The row.
        label: What messages call the checkpoint.
        model_type: That of the whole checkpoint, where the row is that of its text decoder.

    Returns:
        The name of each layer's weights, the same one three times if fused.

    Raises:
        UserError: If there are none, the layers of two models match equally well, or a tensor is there twice.
    """
    names = tuple(names)
    bare_names = unwrapped_names(names, label)
    found = _well_placed(_matches_by_stem(bare_names, family), family)
    if not found:
        names_in_model = _names_in_the_model(bare_names, (model_type or family.name, family.name))
        found = _well_placed(_matches_by_stem(names_in_model, family), family)
    ranks = {stem: _rank(stem, family.layers) for stem in found}
    if not found:
        looked = f"{family.layers[0]}.0.{family.attention}.{family.projection_names[0][0]}.weight"
        raise _nothing_found(names, label, f"at {looked} (the row of {family.name!r})")
    best = min(ranks[stem] or _WORST for stem in found)
    stems = [stem for stem in found if (ranks[stem] or _WORST) == best]
    if len(stems) > 1:
        raise UserError(
            f"{label!r} holds attention layers at both {' and '.join(stems)}: "
            f"say which with a pattern such as q={stems[0]}.{{layer}}.{family.attention}.q_proj.weight"
        )
    return found[stems[0]]


def names_by_pattern(names: Iterable[str], pattern: Mapping[Matrix, str], label: str) -> ProjectionNames:
    """Find the weights of all layers by the names a user gives.

    Args:
        names: The names of all tensors.
        pattern: For each matrix its tensor's name with ``{layer}`` in the place of the layer's number.
        label: What messages call the checkpoint.

    Raises:
        UserError: If a pattern has no ``{layer}`` or matches nothing, or a tensor is there twice.
    """
    names = tuple(names)
    bare_names = unwrapped_names(names, label)
    found: ProjectionNames = {}
    for matrix, template in pattern.items():
        if matrix not in MATRICES:
            raise UserError(f"pattern names no matrix {matrix!r}: use {', '.join(MATRICES)}")
        if "{layer}" not in template:
            raise UserError(
                f"pattern {template!r} for {matrix} does not say where the layer's number stands: "
                "write {layer} there, as in layers.{layer}.attn.q.weight"
            )
        expression = re.compile(re.escape(unwrapped(template)).replace(r"\{layer\}", r"(\d+)", 1))
        matches = {
            int(match[1]): name for name, bare in bare_names.items() if (match := expression.fullmatch(bare))
        }
        if not matches:
            raise _nothing_found(names, label, f"called {template}")
        found |= {(layer, matrix): name for layer, name in matches.items()}
    return found


_WORST = (3, 0)


def _rank(stem: str, paths: Sequence[str]) -> tuple[int, int] | None:
    """Return how well the path to a list of layers fits a row's: small is good, None not at all."""
    for number, path in enumerate(paths):
        if stem == path:
            return 0, number
    for number, path in enumerate(paths):
        if path.endswith(f".{stem}"):
            return 1, number
    for number, path in enumerate(paths):
        if stem.endswith(f".{path}"):
            return 2, number
    return None


def _well_placed(found: dict[str, ProjectionNames], family: Family) -> dict[str, ProjectionNames]:
    """Leave out lists of layers that lie where the row does not look, if there are several."""
    if len(found) < 2:
        return found
    return {stem: held for stem, held in found.items() if _rank(stem, family.layers) is not None}


def _names_in_the_model(names: Mapping[str, str], model_types: Iterable[str]) -> dict[str, str]:
    """Return each stored name with the name that transformers gives its tensor in the model."""
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping
    from transformers.core_model_loading import WeightRenaming

    renamings = [
        change
        for model_type in dict.fromkeys(model_types)
        for change in get_checkpoint_conversion_mapping(model_type) or ()
        if isinstance(change, WeightRenaming)
    ]
    found = {}
    for name, bare in names.items():
        for renaming in renamings:
            bare = renaming.rename_source_key(bare)[0]
        found[name] = bare
    return found


def _matches_by_stem(names: Mapping[str, str], family: Family) -> dict[str, ProjectionNames]:
    """Group stored names by the path to the list of layers that the name without wrappers has."""
    matrices: tuple[Matrix, ...] = ("query", "key", "value")
    endings: dict[str, list[Matrix]] = {}
    for matrix, modules in zip(matrices, family.projection_names, strict=True):
        for module in modules:
            endings.setdefault(f".{family.attention}.{module}.weight", []).append(matrix)
    endings.setdefault(f".{family.attention}.{family.output_projection}.weight", []).append("output")
    found: dict[str, ProjectionNames] = {}
    for name, bare in names.items():
        for ending, held in endings.items():
            stem, _, layer = bare.removesuffix(ending).rpartition(".")
            if bare.endswith(ending) and layer.isdecimal():
                found.setdefault(stem, {}).update({(int(layer), matrix): name for matrix in held})
    return found


def _nothing_found(names: Sequence[str], label: str, where: str) -> UserError:
    quantised = next((name for name in names if name.endswith(_QUANTISED_ENDINGS)), None)
    if quantised is not None:
        return UserError(
            f"{shown(label)} holds quantised weights (such as {told(quantised)}): give the unquantised checkpoint"
        )
    some = [name for name in names if re.search(r"att|query|qkv|q_proj", name)] or list(names)
    return UserError(
        f"{shown(label)} has no attention weights {where}; its tensors are called "
        f"{shown(some[0])[1:-1] if some else 'nothing, for it holds none'}: give a pattern such as "
        "q=layers.{layer}.q.weight, or register a row"
    )
