"""Rows for model types that the table does not list, read off the names and shapes of modules: candidates to try.

Nothing here is sure: a derived row is used where the self-check holds on the very model (`hooks.derivation`).
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..errors import UserError, shown
from .families import model_type_of
from .family import Family, Route
from .fitting_layouts import fitting_layouts, is_transposed, linear_shape
from .layer_parts import layer_parts

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_QUERY = re.compile(r"q|query|w_?q|q_proj|q_lin|q_linear|query_proj|to_q", re.IGNORECASE)
_KEY = re.compile(r"k|key|w_?k|k_proj|k_lin|k_linear|key_proj|to_k", re.IGNORECASE)
_VALUE = re.compile(r"v|value|w_?v|v_proj|v_lin|v_linear|value_proj|to_v", re.IGNORECASE)
_FUSED = re.compile(r"w_?qkv|qkv|qkv_proj|c_attn|query_key_value|to_qkv", re.IGNORECASE)
_OUTPUT = re.compile(
    r"o|w_?o|o_proj|out|out_proj|out_lin|c_proj|dense|proj|wo_proj|output|to_out", re.IGNORECASE
)
_LATENT_QUERIES, _LATENT_KEYS = ("q_proj", "q_b_proj"), "kv_b_proj"
_OF_OTHERS = re.compile(r"cross|encoder_attn|encdec|inter_attention|indexer", re.IGNORECASE)
_OTHER_SENSES = re.compile(r"vision|visual|image|audio|speech|\bencoder\.layers\b|mtp", re.IGNORECASE)
_MLP = re.compile(
    r"mlp|ffn?|feed_forward|mlp_block|block_sparse_moe|moe|shared_mlp|ff_layer|intermediate", re.IGNORECASE
)
_MLP_OUTPUT = re.compile(
    r"down_proj|c_proj|fc2|w2|dense_4h_to_h|fc_out|linear_?2|lin2|w_?o|output|down", re.IGNORECASE
)


@dataclass(frozen=True)
class _Kind:
    """One way in which layers hold attention.

    Attributes:
        attention: The attention module, relative to a layer.
        projections: As in `Family`.
        output: The output projection, relative to the attention module; empty where none was found.
    """

    attention: str
    projections: tuple[str, ...]
    output: str


def candidate_families(model: PreTrainedModel) -> tuple[Family, ...]:
    """Return the rows that may describe a model whose type has none, in the order in which to try them.

    Args:
        model: The model; on the meta device it will do.

    Raises:
        Underivable: If no row can: the sentence says what was found and what was not.
    """
    config = model.config.get_text_config()
    path, layers = _layer_list(model, config)
    kinds = _kinds(layers)
    where = f"{len(layers)} layers at {path}"
    if not kinds:
        raise _refusal(model, f"{where} hold no attention module with W_Q, W_K and W_V")
    whole = {kind: numbers for kind, numbers in kinds.items() if kind.output}
    if not whole:
        kind = next(iter(kinds))
        raise _refusal(
            model, f"{where} have W_Q, W_K and W_V in {kind.attention}, which holds no output projection"
        )
    several = _several(whole)
    if several:
        raise _refusal(
            model, f"layer {several[0]} at {path} holds attention at {several[1]} and at {several[2]}"
        )
    partial = next((number for number, layer in enumerate(layers) if _has_queries_alone(layer, whole)), None)
    if partial is not None:
        raise _refusal(model, f"layer {partial} at {path} has W_Q and neither W_K nor W_V, or one of them")
    shared = _sharing(layers, whole)
    if shared:
        raise _refusal(
            model, f"layers {shared[0]} and {shared[1]} at {path} run one and the same attention module"
        )
    found = []
    for kind in sorted(whole, key=lambda kind: -len(whole[kind])):
        attentions = {number: layers[number].get_submodule(kind.attention) for number in whole[kind]}
        attention = attentions[whole[kind][0]]
        for layout, geometry in fitting_layouts(attentions, kind.projections, kind.output, config):
            family = Family(
                model_type_of(model.config),
                (path,),
                kind.attention,
                kind.output,
                _mlp_outputs(layers, whole[kind]),
                kind.projections,
                layout,
                is_transposed(attention, kind.projections[0]),
                _route(attention),
                frozenset(),
                hybrid=len(whole[kind]) < len(layers),
                geometry=geometry,
                derived=True,
            )
            if _resolves(model, family, whole[kind]):
                found.append(family)
    if not found:
        kind = next(iter(whole))
        raise _refusal(
            model, f"{where} have {kind.attention}, whose shapes go with no head counts of its configuration"
        )
    return tuple(found)


class Underivable(UserError):
    """The refusal of a model type that has no row and of which none can be derived, in one sentence.

    Attributes:
        found: What was found and what was not, without the rest of the sentence.
    """

    def __init__(self, model_type: str, found: str) -> None:
        self.found = found
        text = (
            f"model type {shown(model_type)} has no row in the table of families, and none can be derived: "
            "{}: describe it with iclprobe.register_family(iclprobe.Family(...))"
        )
        room = 302 - len(text)
        super().__init__(text.format(found if len(found) <= room else found[: room - 1] + "…"))


def _refusal(model: PreTrainedModel, found: str) -> Underivable:
    return Underivable(model_type_of(model.config), found)


def _layer_list(model: PreTrainedModel, config: PretrainedConfig) -> tuple[str, list[torch.nn.Module]]:
    counts = {
        getattr(config, name, None) for name in ("num_hidden_layers", "decoder_layers", "n_layer", "n_layers")
    }
    lists: dict[str, list[torch.nn.Module]] = {}
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{other}.") for other in lists)
        if (
            not isinstance(module, torch.nn.ModuleList)
            or not len(module)
            or inside
            or _OTHER_SENSES.search(path)
        ):
            continue
        if len(module) in counts and any(True for _ in module[0].children()):
            lists[path] = list(module)
    attending = {path: layers for path, layers in lists.items() if _kinds(layers)}
    if not lists:
        raise _refusal(model, "no list of as many layers as its configuration says was found")
    if len(attending or lists) > 1:
        some = list(attending or lists)
        raise _refusal(model, f"there are several lists of layers, at {some[0]} and at {some[1]}")
    return next(iter((attending or lists).items()))


def _kinds(layers: list[torch.nn.Module]) -> dict[_Kind, list[int]]:
    """Return how layers hold attention, and which layers do so, by number."""
    kinds: dict[_Kind, list[int]] = {}
    with_convolution: dict[_Kind, list[int]] = {}
    for number, layer in enumerate(layers):
        for path, module in layer.named_modules():
            if not path or _OF_OTHERS.search(path):
                continue
            kind = _kind(path, module)
            if kind is not None:
                # Linear attention often has a convolution in front.
                convolved = any("conv" in name for name, _ in module.named_children())
                (with_convolution if convolved else kinds).setdefault(kind, []).append(number)
    return kinds or with_convolution


def _kind(path: str, attention: torch.nn.Module) -> _Kind | None:
    children = {name: child for name, child in attention.named_children() if linear_shape(child) is not None}
    projections: tuple[str, ...] | None = None
    fused = [name for name in children if _FUSED.fullmatch(name)]
    separate = [[name for name in children if word.fullmatch(name)] for word in (_QUERY, _KEY, _VALUE)]
    latent = [name for name in _LATENT_QUERIES if name in children]
    if _LATENT_KEYS in children and latent:
        projections = ("|".join(_LATENT_QUERIES), _LATENT_KEYS, _LATENT_KEYS)
    elif all(len(names) == 1 for names in separate):
        projections = tuple(names[0] for names in separate)
    elif len(fused) == 1:
        projections = (fused[0],)
    if projections is None:
        return None
    outputs = [name for name in children if _OUTPUT.fullmatch(name)]
    return _Kind(path, projections, outputs[0] if len(outputs) == 1 else "")


def _has_queries_alone(layer: torch.nn.Module, kinds: dict[_Kind, list[int]]) -> bool:
    """Return whether a layer's attention takes keys or values from elsewhere."""
    for path, module in layer.named_modules():
        names = {name for name, child in module.named_children() if linear_shape(child) is not None}
        held = [any(word.fullmatch(name) for name in names) for word in (_QUERY, _KEY, _VALUE)]
        if (
            any(path == kind.attention for kind in kinds)
            and held[0]
            and not any(map(_FUSED.fullmatch, names))
        ):
            return not all(held) and _LATENT_KEYS not in names
    return False


def _sharing(layers: list[torch.nn.Module], kinds: dict[_Kind, list[int]]) -> tuple[int, int] | None:
    """Return two layers that run one attention module."""
    owner: dict[torch.nn.Module, int] = {}
    for kind, numbers in kinds.items():
        for number in numbers:
            first = owner.setdefault(layers[number].get_submodule(kind.attention), number)
            if first != number:
                return first, number
    return None


def _several(kinds: dict[_Kind, list[int]]) -> tuple[int, str, str] | None:
    """Return a layer with two attention modules, and where they are."""
    held: dict[int, str] = {}
    for kind, numbers in kinds.items():
        for number in numbers:
            if held.setdefault(number, kind.attention) != kind.attention:
                return number, held[number], kind.attention
    return None


def _mlp_outputs(layers: list[torch.nn.Module], numbers: list[int]) -> tuple[str, ...]:
    """Return what the module of the MLP output is called in each layer, none where one of them has no such module."""
    found: dict[str, None] = {}
    for number in numbers:
        layer = layers[number]
        blocks = [name for name, _ in layer.named_children() if _MLP.fullmatch(name)]
        if len(blocks) > 1:
            return ()
        if blocks:
            block = layer.get_submodule(blocks[0])
            inside = [
                name
                for name, child in block.named_children()
                if _MLP_OUTPUT.fullmatch(name) and linear_shape(child) is not None
            ]
            dense = len(inside) == 1 and not any("expert" in name for name, _ in block.named_children())
            found[f"{blocks[0]}.{inside[0]}" if dense else blocks[0]] = None
            continue
        own = [
            name
            for name, child in layer.named_children()
            if _MLP_OUTPUT.fullmatch(name) and linear_shape(child)
        ]
        if len(own) != 1:
            return ()
        found[own[0]] = None
    # A dense layer's block has the experts' name too: what is inside comes first.
    return tuple(sorted(found, key=lambda name: -name.count(".")))


def _route(attention: torch.nn.Module) -> Route:
    """Return whether attention goes through transformers' registry, as the code of its forward names it."""
    forward = inspect.unwrap(type(attention).forward)
    return "registry" if "ALL_ATTENTION_FUNCTIONS" in forward.__code__.co_names else "functional"


def _resolves(model: PreTrainedModel, family: Family, numbers: list[int]) -> bool:
    try:
        return [part.index for part in layer_parts(model, family)] == numbers
    except UserError:
        return False
