"""What was recorded: arrays with named axes that hold no reference to a model, and their file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from torch import Tensor

from ..errors import UserError
from ..unfinished import unfinished_place
from .captured_prompts import CapturedPrompts
from .plan import SITES
from .resolved_plan import ResolvedPlan

if TYPE_CHECKING:
    from .activation_cache import CachePositions

# Arrays whose last axis is the columns: rows of different length are padded there.
_OVER_COLUMNS = ("scores", "pattern", "visible", "columns")


@dataclass(frozen=True, repr=False)
class Capture:
    """What a plan recorded of N prompts, in the order they were given; float arrays are fp32 on the CPU.

    Plans with several positions have an axis P after L, and `rows` says which of them exist.

    Attributes:
        layers: The layers recorded, counted from 0; the entries of every axis L.
        columns: Which columns hold a token, begin-of-sequence excluded, ``[N, Q]``.
        visible: Keys that causality, padding and window allow, ``[N, L, 1, Q]``.
        attention_output: After the output projection, before any norm and the residual, ``[N, L, d]``.
        head_output: What each head adds to the attention output, ``[N, L, H, d]``; the sum over heads and the output
            projection's bias are the attention output.
        scores: Pre-softmax attention scores, ``[N, L, H, Q]``; entries that are not visible are 0.
        pattern: Post-softmax attention, normalised over all visible keys, ``[N, L, H, Q]``.
        queries: Queries as attention multiplies them, ``[N, L, H, d_head]``.
        keys: Keys of the same positions likewise, ``[N, L, H_kv, d_head]``.
        values: Values of the same positions, ``[N, L, H_kv, d_value]``.
        residual_before: The residual stream that enters the layer, ``[N, L, d]``.
        residual_middle: The residual stream between attention and MLP, ``[N, L, d]``.
        residual: The residual stream after the layer, ``[N, L, d]``.
        mlp_input: What the MLP is given, ``[N, L, d]``.
        mlp_output: The MLP's output, ``[N, L, d]``.
        rows: Which positions exist, ``[N, P]``.
        row_tokens: Which token of the whole prompt each row is, counted from 0, ``[N]`` or ``[N, P]``; of
            ``first_label_token`` the one behind the prompt. -1 where there is none.
        label_logprobs: Log-probability of each label option, ``[N, C]``.
        label_is_argmax: Whether every token of the option is the argmax of the whole vocabulary under teacher
            forcing, ``[N, C]``.
        top_ids: The K most probable next tokens, ``[N, K]``.
        top_logprobs: Their log-probabilities, ``[N, K]``.
        prompts: The prompts: token ids, what tokens say, spans, setting. None for what a tap recorded.
        manifest: Where it came from: model, plan, score space, attention implementation, dtype, prompts.
    """

    layers: tuple[int, ...]
    columns: Tensor
    visible: Tensor | None = None
    attention_output: Tensor | None = None
    head_output: Tensor | None = None
    scores: Tensor | None = None
    pattern: Tensor | None = None
    queries: Tensor | None = None
    keys: Tensor | None = None
    values: Tensor | None = None
    residual_before: Tensor | None = None
    residual_middle: Tensor | None = None
    residual: Tensor | None = None
    mlp_input: Tensor | None = None
    mlp_output: Tensor | None = None
    rows: Tensor | None = None
    row_tokens: Tensor | None = None
    label_logprobs: Tensor | None = None
    label_is_argmax: Tensor | None = None
    top_ids: Tensor | None = None
    top_logprobs: Tensor | None = None
    prompts: CapturedPrompts | None = None
    manifest: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that every array has N prompts, L layers and Q columns."""
        for name, array in self.arrays().items():
            if array.shape[0] != self.n:
                raise ValueError(f"{name} {tuple(array.shape)} does not hold {self.n} prompts")
            if name in _OVER_COLUMNS and array.shape[-1] != self.columns.shape[-1]:
                raise ValueError(
                    f"{name} {tuple(array.shape)} does not hold {self.columns.shape[-1]} columns"
                )
            if name in ("visible", *SITES) and array.shape[1] != len(self.layers):
                raise ValueError(f"{name} {tuple(array.shape)} does not hold {len(self.layers)} layers")

    def __repr__(self) -> str:
        """Return in a few lines what was recorded; its numbers are not shown."""
        shapes = "\n".join(f"  {name} {list(array.shape)}" for name, array in self.arrays().items())
        setting = f" ({self.prompts.setting})" if self.prompts and self.prompts.setting else ""
        return f"<Capture of {self.n} prompts{setting}, {len(self.layers)} layers, {self.nbytes:,} bytes:\n{shapes}>"

    @property
    def n(self) -> int:
        """Number of prompts, N."""
        return self.columns.shape[0]

    @property
    def prediction(self) -> Tensor | None:
        """The label option with the highest score, ``[N]``; the lower option on a tie."""
        return None if self.label_logprobs is None else self.label_logprobs.argmax(dim=1)

    @property
    def first_column(self) -> int:
        """Which token of a whole prompt column 0 is, counted from 0."""
        return int(self.manifest.get("first_column", 0))

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def arrays(self) -> dict[str, Tensor]:
        """Return every array that was recorded, by name."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def plot_attention(self, **options: Any) -> Any:
        """Draw the attention of one prompt, as a matplotlib figure: `iclprobe.reports.captured_attention`.

        Rows of one token give a row over layers, others maps: ``CapturePlan(sites=("pattern",), positions="prompt",
        columns="all")`` holds every token's.

        Args:
            options: ``prompt`` and ``layer`` (numbers), ``head`` (a number, ``mean``, or all side by side), ``kind``
                (``pattern`` or ``scores``) and ``width`` in inches.

        Raises:
            UserError: If the capture does not hold that.
        """
        # What draws imports nothing of hooks, and hooks nothing of what draws: it is named by its place.
        drawing = import_module("iclprobe.reports.captured_attention")
        return drawing.capture_figure(self, **options)

    def to_activation_cache(self, bridge: Any = None) -> Any:
        """Return the arrays as TransformerLens's ActivationCache, under its names (needs ``transformer-lens``).

        It holds what was recorded and no more. Its position axis is the recorded positions, one where there is a
        single one, its key axis the columns: ``[N, P, …]``, and ``[N, H, P, Q]`` of scores and pattern. Keys that are
        not visible have the lowest number as score.

        Args:
            bridge: The bridge that the cache is said to be of, which its tools need; aliases such as
                ``hook_attn_out`` are there only with it, for what they stand for depends on the architecture.
        """
        from .activation_cache import to_activation_cache

        return to_activation_cache(self, bridge)

    @classmethod
    def from_activation_cache(
        cls, cache: Any, *, mask: Any = None, positions: CachePositions = "all"
    ) -> Capture:
        """Make a capture of what TransformerLens's ``run_with_cache`` recorded.

        Args:
            cache: An ActivationCache, or a mapping of names to tensors, of whole prompts.
            mask: Which tokens are real, ``[N, S]``, in one run each; all by default.
            positions: Which tokens' rows are kept: ``all``, ``last_prompt_token``, or indices into each prompt.
                Columns are all tokens, a begin of sequence included.

        Raises:
            UserError: If it holds nothing that a capture holds, or other numbers under these names.
        """
        from .activation_cache import fields_of_cache

        return cls(**fields_of_cache(cache, mask, positions))

    def select(self, indices: Tensor) -> Capture:
        """Return the capture of some of the prompts."""
        chosen: dict[str, Any] = {name: array[indices] for name, array in self.arrays().items()}
        if self.prompts is not None:
            chosen["prompts"] = self.prompts.select(torch.arange(self.n)[indices])
        return replace(self, **chosen)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, whole or not at all; the manifest goes into its header."""
        from safetensors.torch import save_file

        path = Path(path)
        arrays = {name: array.contiguous() for name, array in self.arrays().items()}
        if self.prediction is not None:
            arrays["prediction"] = self.prediction
        header = header_of(self.layers, self.manifest, self.prompts)
        with unfinished_place(path) as unfinished:
            save_file(arrays, unfinished, metadata=header)
            unfinished.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> Capture:
        """Read a file that `save` wrote.

        Raises:
            UserError: If the file is no capture.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                header = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys() if name != "prediction"}  # noqa: SIM118
            return cls(
                layers=tuple(json.loads(header["layers"])),
                manifest=json.loads(header["manifest"]),
                prompts=CapturedPrompts.from_json(json.loads(header["prompts"]))
                if "prompts" in header
                else None,
                **arrays,
            )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path} is no capture that iclprobe wrote: {error}") from error


def header_of(
    layers: Sequence[int], manifest: dict[str, Any], prompts: CapturedPrompts | None
) -> dict[str, str]:
    """Return what the header of a capture's file says beside the arrays."""
    header = {"layers": json.dumps(layers), "manifest": json.dumps(manifest)}
    if prompts is not None:
        header["prompts"] = json.dumps(prompts.to_json(), separators=(",", ":"))
    return header


def collect(resolved: ResolvedPlan, recordings: Sequence[dict[str, Tensor]]) -> Capture:
    """Put the recordings of several forwards below each other.

    Raises:
        UserError: If there is no recording.
    """
    if not recordings:
        raise UserError(
            "nothing was recorded: run the model inside the with block before asking for a capture"
        )
    joined = {
        name: torch.cat([pad_last_axes(recording[name], name, recordings) for recording in recordings])
        for name in recordings[0]
    }
    return capture_from(resolved, joined)


def capture_from(resolved: ResolvedPlan, arrays: dict[str, Tensor], **others: Any) -> Capture:
    """Make a capture of a recording ``[N, L, P, …]``; single positions lose their axis."""
    arrays = dict(arrays)
    rows, row_tokens = arrays.pop("rows", None), arrays.pop("row_tokens", None)
    if resolved.plan.single_position:
        squeezed = {
            name: rearrange(array, "n l 1 ... -> n l ...") if name != "columns" else array
            for name, array in arrays.items()
        }
        if row_tokens is not None:
            squeezed["row_tokens"] = rearrange(row_tokens, "n 1 -> n")
        return Capture(layers=resolved.layers, **squeezed, **others)
    if row_tokens is not None:
        arrays["row_tokens"] = row_tokens
    return Capture(layers=resolved.layers, rows=rows, **arrays, **others)


def pad_last_axes(array: Tensor, name: str, recordings: Sequence[dict[str, Tensor]]) -> Tensor:
    """Pad positions and columns with zeros to the largest among the recordings."""
    shapes = torch.tensor([recording[name].shape for recording in recordings]).amax(dim=0).tolist()
    axes = [shape - size for size, shape in zip(array.shape[1:], shapes[1:], strict=True)]
    padding = [entry for axis in reversed(axes) for entry in (0, axis)]
    return torch.nn.functional.pad(array, padding) if any(axes) else array
