"""A slow, independent witness of attention: it reads the softmax itself, one unpadded prompt at a time.

The oracle runs the model with its own eager attention (in a deep copy where another one is its default),
without a cache and without padding, and keeps what the model hands to the softmax. Falcon is the
exception: with ALiBi its eager code differs from the scaled dot-product code that runs by default (eager
adds the bias twice), so there the oracle recomputes the softmax input from the arguments of
`scaled_dot_product_attention`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode

HIDDEN_BELOW = -1e30
"""Masks add the most negative float (CodeGen divides it by sqrt(d)); no real score comes near this."""


@dataclass(frozen=True)
class Layout:
    """Where the parts of one architecture live, written down by hand from its modelling file.

    Paths are relative to a decoder layer. `mlp_output` names the MLP's last projection, whose output is the
    MLP's contribution to the residual stream before any post-MLP norm (the MLP itself where its layers may
    also have experts; None: no one module gives it).
    """

    layers: str
    attention: str
    output_projection: str
    mlp_output: str | None
    attending: tuple[int, ...] | None = None
    """The decoder layers that have attention (None: all)."""
    output_bias: str | None = None
    """A bias of the output projection that is a parameter by itself, in the layers that have it."""
    hidden_below: float = HIDDEN_BELOW
    """What every hidden score is below."""
    stream: int | None = None
    """Which of several parallel residual streams the layers' own input is."""


_GPT2 = Layout("transformer.h", "attn", "attn.c_proj", "mlp.c_proj")
_LLAMA = Layout("model.layers", "self_attn", "self_attn.o_proj", "mlp.down_proj")
LAYOUTS: dict[str, Layout] = {
    "gpt2": _GPT2,
    "gpt_bigcode": _GPT2,
    "gpt_neo": Layout("transformer.h", "attn.attention", "attn.attention.out_proj", "mlp.c_proj"),
    "gptj": Layout("transformer.h", "attn", "attn.out_proj", "mlp.fc_out"),
    "codegen": Layout("transformer.h", "attn", "attn.out_proj", "mlp.fc_out"),
    "gpt_neox": Layout("gpt_neox.layers", "attention", "attention.dense", "mlp.dense_4h_to_h"),
    "opt": Layout("model.decoder.layers", "self_attn", "self_attn.out_proj", "fc2"),
    "xglm": Layout("model.layers", "self_attn", "self_attn.out_proj", "fc2"),
    "bloom": Layout("transformer.h", "self_attention", "self_attention.dense", "mlp.dense_4h_to_h"),
    "falcon": Layout("transformer.h", "self_attention", "self_attention.dense", "mlp.dense_4h_to_h"),
    "mpt": Layout("transformer.blocks", "attn", "attn.out_proj", "ffn.down_proj"),
    "phi": Layout("model.layers", "self_attn", "self_attn.dense", "mlp.fc2"),
    "starcoder2": Layout("model.layers", "self_attn", "self_attn.o_proj", "mlp.c_proj"),
    **{
        name: Layout("model.layers", "self_attn", "self_attn.o_proj", "mlp")
        for name in ("gpt_oss", "mixtral", "qwen3_moe")
    },
}


class SoftmaxInput(NamedTuple):
    """One layer of one prompt of S tokens: what the softmax was given, and which keys it could see."""

    scores: torch.Tensor
    """[H, S, S] fp32, rows are queries; hidden entries are NaN."""
    visible: torch.Tensor
    """[H, S, S] bool."""


class Witnessed(NamedTuple):
    """A `SoftmaxInput` with what the softmax made of it."""

    scores: torch.Tensor
    visible: torch.Tensor
    pattern: torch.Tensor
    """[H, S, S]; with sinks, rows sum to less than one."""


def layout_of(model: torch.nn.Module) -> Layout:
    """The hand-written layout of the model's architecture (most are laid out as Llama is)."""
    return layout_named(_model_type(model))


def layout_named(model_type: str) -> Layout:
    """The hand-written layout of a model type."""
    return LAYOUTS.get(model_type, _LLAMA)


def add_layout(model_type: str, layout: Layout) -> None:
    """Tell the oracle how an architecture is laid out."""
    assert LAYOUTS.setdefault(model_type, layout) == layout


def decoder_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The model's decoder layers, first to last."""
    layers = model.get_submodule(layout_of(model).layers)
    assert isinstance(layers, torch.nn.ModuleList)
    return list(layers)


def attending(model: torch.nn.Module) -> tuple[int, ...]:
    """Which decoder layers have attention, counted from 0 among all."""
    listed = layout_of(model).attending
    return tuple(range(len(decoder_layers(model)))) if listed is None else listed


def attention_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The decoder layers that have attention, first to last."""
    layers = decoder_layers(model)
    return [layers[index] for index in attending(model)]


def softmax_inputs(model: torch.nn.Module, ids: Sequence[int]) -> list[SoftmaxInput]:
    """The true softmax input of every layer for one prompt.

    Args:
        model: A Hugging Face causal language model; it is never changed.
        ids: The S token ids of the prompt.

    Returns:
        One `SoftmaxInput` a layer.
    """
    return [SoftmaxInput(record.scores, record.visible) for record in witnessed(model, ids)]


def patterns(model: torch.nn.Module, ids: Sequence[int]) -> list[torch.Tensor]:
    """The attention weights [H, S, S] of every layer (with sinks, rows sum to less than one)."""
    return [record.pattern for record in witnessed(model, ids)]


def attention_outputs(model: torch.nn.Module, ids: Sequence[int]) -> list[torch.Tensor]:
    """The attention output [S, d] of every layer: after the output projection, before norm and residual.

    The model runs as it is, in its own attention implementation.
    """
    layout = layout_of(model)
    outputs = _outputs(model, ids, layout.output_projection)
    if layout.output_bias is not None:
        for index, layer in enumerate(attention_layers(model)):
            module, _, name = layout.output_bias.rpartition(".")
            bias = getattr(layer.get_submodule(module), name)
            outputs[index] += 0.0 if bias is None else bias.detach()
    return outputs


def mlp_outputs(model: torch.nn.Module, ids: Sequence[int]) -> list[torch.Tensor]:
    """The MLP output [S, d] of every layer: after its last projection, before any norm and the residual.

    Empty where no one module gives it.
    """
    path = layout_of(model).mlp_output
    return [] if path is None else _outputs(model, ids, path)


def residual_streams(model: torch.nn.Module, ids: Sequence[int]) -> list[torch.Tensor]:
    """The residual stream [S, d] after every decoder layer (before the final norm)."""
    return _outputs(model, ids, "")


def logits(model: torch.nn.Module, ids: Sequence[int]) -> torch.Tensor:
    """The logits [S, V] of the model as it is, for one unpadded prompt without cache."""
    return _forward(model, ids)


def eager_copy(model: torch.nn.Module) -> torch.nn.Module:
    """A deep copy that runs the modelling file's own eager attention (Falcon stays as it is)."""
    twin: Any = copy.deepcopy(model)
    if not _is_witnessed_as_it_is(model):
        twin.set_attn_implementation("eager")
        assert twin.config._attn_implementation == "eager"
    return twin


def _is_witnessed_as_it_is(model: torch.nn.Module) -> bool:
    config: Any = model.config
    return _model_type(model) == "falcon" or config._attn_implementation == "eager"


class _SoftmaxWitness(TorchFunctionMode):
    """Keeps input and output of every softmax over S (with a sink S + 1) keys, in the order of the calls."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        self.calls: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.shifted: tuple[torch.Tensor, torch.Tensor] | None = None

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            scores = _scaled_dot_product_scores(*args, **kwargs)
            self.calls.append((scores, scores.softmax(-1)))
            return func(*args, **kwargs)
        out = func(*args, **kwargs)
        if func is torch.Tensor.sub:
            self.shifted = (out, args[0])
        if func in (torch.nn.functional.softmax, torch.softmax, torch.Tensor.softmax):
            given = args[0] if args else kwargs["input"]
            if self.shifted is not None and given is self.shifted[0]:
                # MiMo subtracts each row's largest entry first, which no softmax feels.
                given = self.shifted[1]
            if (
                given.dim() >= 3
                and given.shape[-2] == self.length
                and given.shape[-1] - self.length in (0, 1)
            ):
                self.calls.append((given.detach().float().clone(), out.detach().float().clone()))
        return out


def _scaled_dot_product_scores(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """PyTorch's documented definition of scaled dot-product attention, up to the softmax."""
    assert not enable_gqa
    scores = query.float() @ key.float().transpose(-1, -2)
    scores = scores * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        assert attn_mask is None
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is None:
        return scores
    if attn_mask.dtype == torch.bool:
        return scores.masked_fill(~attn_mask, torch.finfo(torch.float32).min)
    return scores + attn_mask.float()


def witnessed(model: torch.nn.Module, ids: Sequence[int]) -> list[Witnessed]:
    """Softmax input and attention weights of every layer for one prompt."""
    twin = model if _is_witnessed_as_it_is(model) else eager_copy(model)
    length = len(ids)
    with _SoftmaxWitness(length) as witness:
        _forward(twin, ids)
    layers, layout = attention_layers(twin), layout_of(twin)
    assert len(witness.calls) == len(layers), f"{len(witness.calls)} softmaxes in {len(layers)} layers"
    records = []
    for (given, probabilities), layer in zip(witness.calls, layers, strict=True):
        scores = given.reshape(-1, length, given.shape[-1])
        pattern = probabilities.reshape(-1, length, given.shape[-1])[..., :length]
        sinks: Any = getattr(layer.get_submodule(layout.attention), "sinks", None)
        if given.shape[-1] == length + 1:
            # GPT-OSS subtracts each row's largest entry first; the sink's known value gives the shift back.
            scores = scores[..., :length] - scores[..., length:] + sinks.detach().float().view(-1, 1, 1)
        elif sinks is not None:
            # Granite with sliding windows gives the sink its share behind the softmax.
            total = scores.logsumexp(-1, keepdim=True)
            pattern = pattern * (total - sinks.detach().float().view(-1, 1, 1)).sigmoid()
        visible = scores > layout.hidden_below
        records.append(Witnessed(scores.masked_fill(~visible, float("nan")), visible, pattern))
    return records


def _outputs(model: torch.nn.Module, ids: Sequence[int], path: str) -> list[torch.Tensor]:
    outputs: list[torch.Tensor] = []
    stream = layout_of(model).stream

    def keep(module: torch.nn.Module, args: Any, output: Any) -> None:
        value = output[0] if isinstance(output, (tuple, list)) else output
        if path == "" and stream is not None:
            value = value[stream]
        # Cloned at once: Falcon adds the attention output to the MLP output in place.
        outputs.append(value.detach().float().reshape(len(ids), -1).clone())

    layers = attention_layers(model)
    handles = [layer.get_submodule(path).register_forward_hook(keep) for layer in layers]
    try:
        _forward(model, ids)
    finally:
        for handle in handles:
            handle.remove()
    assert len(outputs) == len(layers)
    return outputs


def _forward(model: torch.nn.Module, ids: Sequence[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].float()


def _model_type(model: torch.nn.Module) -> str:
    config: Any = model.config
    return config.model_type
