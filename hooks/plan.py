"""What to record: declared once, for whatever model."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints

from ..models.score_spaces import ScoreSpace
from ..on_command_line import OnCommandLine, same_text
from ..settings import Layer, Settings

Site = Literal[
    "attention_output",
    "head_output",
    "scores",
    "pattern",
    "queries",
    "keys",
    "values",
    "residual_before",
    "residual_middle",
    "residual",
    "mlp_input",
    "mlp_output",
]
SITES: tuple[Site, ...] = get_args(Site)
# Those that are read in the attention call; the others are the input or the output of a module.
SITES_OF_THE_CALL: tuple[Site, ...] = ("scores", "pattern", "queries", "keys", "values")
NamedPosition = Literal[
    "last_prompt_token",
    "first_label_token",
    "all",
    "prompt",
    "query",
    "demonstrations",
    "demonstration_inputs",
    "demonstration_labels",
    "separators",
]
SPAN_PREFIX = "span:"
"""With which a position names a span of the user's."""
_SpanPosition = Annotated[str, StringConstraints(pattern=r"^span:[^\n]{1,60}$")]

_FAR = 100_000
_Position = Annotated[int, Field(ge=-10_000_000, le=10_000_000)]


def _as_tuple(value: Any) -> Any:
    """Let one site or position stand for itself, and accept lists."""
    if isinstance(value, str) and value in SITES:
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _as_layers(value: Any) -> Any:
    """Turn ``"0:6:2"`` into a slice and ``"0,3,-1"`` or a list into a tuple."""
    if isinstance(value, str):
        try:
            if ":" in value:
                value = slice(*(int(part) if part.strip() else None for part in value.split(":")))
            else:
                value = tuple(int(part) for part in value.split(","))
        except (TypeError, ValueError) as error:
            raise ValueError("layers are numbers like 0,3,-1 or a slice like 4:8") from error
    if isinstance(value, slice):
        return _bounded(value)
    if isinstance(value, int):
        return (value,)
    return tuple(value) if isinstance(value, list | range) else value


def _bounded(layers: slice) -> slice:
    parts = (layers.start, layers.stop, layers.step)
    if layers.step == 0 or any(part is not None and not -_FAR <= part <= _FAR for part in parts):
        raise ValueError("a slice of layers takes steps other than 0 between layers that a model may have")
    return layers


class CapturePlan(Settings):
    """What to record of a forward.

    Attributes:
        sites: Of attention ``attention_output`` (after the output projection, before any norm and the residual),
            ``head_output`` (what each head adds to it: its slice of the output projection's input through its
            slice of the weight; their sum and the projection's bias are the attention output), ``scores``
            (pre-softmax), ``pattern`` (post-softmax, normalised over all visible keys), ``queries``, ``keys`` and
            ``values`` (as attention multiplies them, after norms, rotary embedding and whatever scales them
            before; keys and values of the recorded positions themselves, not of all columns, and once for each
            key and value head). Of the residual stream ``residual_before`` (as it enters the layer),
            ``residual_middle`` (between attention and MLP: what the MLP's output is added to), ``residual``
            (after the layer). Of the MLP ``mlp_input`` (what it is given, after its norm) and ``mlp_output``.
        layers: Which layers; negative ones count from the end. None is all.
        positions: The tokens whose rows are recorded: ``last_prompt_token``, whose next-token distribution is
            the prediction (R1); ``first_label_token``, the first option's first label token appended to the
            prompt, as the reference code does; ``all`` tokens behind the prefix; every token of the whole
            ``prompt``; those of the ``query``, the ``demonstrations``, or their ``demonstration_inputs``,
            ``demonstration_labels`` or ``separators``; ``span:NAME``, those of a span that was given; or indices
            into the tokens behind the prefix. The first two give arrays without a position axis. For rows among
            the demonstrations every prompt runs whole.
        columns: The keys recorded: the ``query``'s tokens, or ``all`` tokens with the demonstrations.
        score_space: ``softmax_input`` is exactly what the softmax sees, softcap and position bias included;
            ``raw`` is the product of query and key, ``scaled`` after the scaling, ``softcapped`` after the
            softcap and before any bias.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    sites: Annotated[tuple[Site, ...], BeforeValidator(_as_tuple)] = ("attention_output", "scores")
    layers: Annotated[
        tuple[Layer, ...] | slice | None, BeforeValidator(_as_layers), OnCommandLine(read=same_text)
    ] = None
    positions: Annotated[
        NamedPosition | _SpanPosition | tuple[_Position, ...],
        BeforeValidator(_as_tuple),
        OnCommandLine(("--position",)),
    ] = "last_prompt_token"
    columns: Annotated[Literal["query", "all"], OnCommandLine(hidden=True)] = "query"
    score_space: ScoreSpace = "softmax_input"

    @property
    def single_position(self) -> bool:
        """Whether arrays have no position axis."""
        return self.positions in ("last_prompt_token", "first_label_token")
