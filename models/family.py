"""One row of the table of families: where one architecture keeps what this toolkit reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .projections import HeadGeometry, Layout, head_geometry
from .score_spaces import ScoreSpace

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Route = Literal["registry", "functional"]

# What a row says of `before_mlp` where attention and MLP read one and the same stream.
PARALLEL = "parallel"

# Where decoder layers lie in a model of text alone, and in the text decoder of one that also sees or hears.
_MODELS = ("model", "model.language_model", "language_model.model", "model.text_model")
LAYERS = tuple(f"{model}.layers" for model in _MODELS)
DENSE_OR_EXPERTS = ("mlp.down_proj", "mlp")
REGISTRY_SPACES: frozenset[ScoreSpace] = frozenset({"raw", "scaled", "softcapped"})


@dataclass(frozen=True)
class Family:
    """One row of the table: where one architecture keeps what this toolkit reads.

    Attributes:
        name: The configuration's ``model_type``.
        layers: Paths under which the list of decoder layers is looked for; the first that exists is taken.
        attention: The attention module, relative to a layer.
        output_projection: The linear map whose output is the attention output, relative to the attention
            module. Not the attention module itself: Bloom's adds the residual inside.
        mlp_output: Modules whose output is the MLP output, relative to a layer; the first that exists in the layer
            is taken, for layers may be dense or have experts. Empty where such a layer has no MLP.
        projections: The W_Q, W_K and W_V modules relative to the attention module; one name if fused. ``|`` stands
            between names of which a model has one. Under latent attention the maps that lead out of the latent
            vectors.
        layout: How the rows of the weights are ordered, or a function of the configuration that tells.
        transposed: Whether weights are stored ``[in, out]`` (GPT-2's Conv1D).
        route: ``registry`` where attention goes through transformers' attention registry, ``functional``
            where it calls the softmax (or ``scaled_dot_product_attention``) itself.
        score_spaces: What besides the softmax's input can be read there.
        pads: Whether a padded batch gives each prompt the scores it has alone. MPT's position bias counts
            from the end of the padded row, so its batches must hold prompts of one length.
        hybrid: Whether there may be layers of another kind between (linear attention, state space, MLP alone).
        shares_keys: Whether there may be layers without W_K and W_V, which take those of a layer below.
        geometry: Head counts and widths from the configuration and the layer's number.
        output_bias: A bias of the output projection that the attention module holds as a parameter of its own.
        stream: Which of several residual streams, where layers hand on ``[streams, B, S, d]``, is the one they read.
        derived: Whether the row was read off a model's modules, and held by a self-check of that model.
        mlp_input: The module whose input is the MLP's, relative to a layer, where it is not the block that the
            module of the MLP output is or stands in.
        before_mlp: The module whose input is the residual stream between attention and MLP, which is what the MLP's
            output is added to: the norm before the MLP, or what the MLP begins with where no norm stands between.
            ``parallel`` where attention and MLP read one stream, empty where there is none or it is not known. Or a
            function of the configuration that tells.
    """

    name: str
    layers: tuple[str, ...] = LAYERS
    attention: str = "self_attn"
    output_projection: str = "o_proj"
    mlp_output: str | tuple[str, ...] = DENSE_OR_EXPERTS
    projections: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    layout: Layout | Callable[[PretrainedConfig], Layout] = "separate"
    transposed: bool = False
    route: Route = "registry"
    score_spaces: frozenset[ScoreSpace] = REGISTRY_SPACES
    pads: bool = True
    hybrid: bool = False
    shares_keys: bool = False
    geometry: Callable[[PretrainedConfig, int], HeadGeometry] = head_geometry
    output_bias: str = ""
    stream: int | None = None
    derived: bool = False
    mlp_input: str = ""
    before_mlp: str | Callable[[PretrainedConfig], str] = ""

    @property
    def label(self) -> str:
        """Its name, and that it was derived if it was."""
        return f"{self.name} (derived)" if self.derived else self.name

    def layout_of(self, config: PretrainedConfig) -> Layout:
        """Return the row order of the weights under this configuration."""
        return self.layout(config) if callable(self.layout) else self.layout

    def before_mlp_of(self, config: PretrainedConfig) -> str:
        """Return the module before which the stream between attention and MLP is read under this configuration."""
        return self.before_mlp(config) if callable(self.before_mlp) else self.before_mlp

    @property
    def projection_names(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """What the modules of W_Q, W_K and W_V may be called, relative to the attention module."""
        query, key, value = self.projections * (3 // len(self.projections))
        return tuple(query.split("|")), tuple(key.split("|")), tuple(value.split("|"))

    @property
    def mlp_outputs(self) -> tuple[str, ...]:
        """What the module of the MLP output may be called, relative to a layer."""
        return (self.mlp_output,) if isinstance(self.mlp_output, str) else self.mlp_output
