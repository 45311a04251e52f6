"""The attention of a few queries, kept beside the tables so that it can be looked at without the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ...hooks.capture import capture
from ...hooks.captured import Capture
from ...hooks.plan import CapturePlan
from ...hooks.resolved_plan import resolve_plan
from ...models.loading import LanguageModel
from ...tasks.prompts import PromptSet
from ...tasks.spans import Span
from ...tasks.token_texts import token_texts
from ..cell import Cell
from ..configuration import CellConfig
from .config import CompareConfig
from .draw import Setting
from .pretrained import Pretrained

_MAP_TYPE = np.float16
"""Shares between 0 and 1, to a thousandth of themselves: maps take half the room."""
_LONGEST_NAME = 60
_MAPS_AT_ONCE = 4
"""A map is of every token, so that a batch of many would take far more than what is kept."""


@dataclass(frozen=True)
class Keeping:
    """Of how many queries attention is kept.

    Attributes:
        rows: Of so many the row that is compared.
        maps: Of so many every token's row.
        bytes: How much all of it takes.
        said: What is told where that is fewer than were asked for; empty where it is not.
    """

    rows: int
    maps: int
    bytes: int = 0
    said: str = ""


def plan_keeping(
    asked: CompareConfig,
    model: LanguageModel,
    cells: Mapping[tuple[int, int], Cell],
    comparisons: Sequence[CellConfig],
) -> Keeping:
    """Return of how many queries attention is kept: rows first, then maps, as far as the bytes allowed go.

    Args:
        asked: Of how many it is asked for, and how large all of it may be.
        model: The model.
        cells: Every draw, by its number of shots and its seed; the first seed's are kept.
        comparisons: The comparisons, each of which keeps a finetuned setting of its own.
    """
    resolved = resolve_plan(asked.plan, model)
    heads = len(resolved.layers) * model.geometry_of(resolved.layers[0]).heads
    kept = {shots: cell for (shots, seed), cell in cells.items() if seed == asked.seeds[0]}
    # How many settings are kept of a cell: two pretrained ones, and a finetuned one for each comparison.
    settings = {shots: 2 + sum(each.shots == shots for each in comparisons) for shots in kept}
    queries = min(cell.prompts.zero_shot.n for cell in kept.values())

    def rows_bytes(n: int) -> int:
        return sum(
            settings[shots]
            * n
            * max(map(len, cell.prompts.zero_shot.query_ids))
            * (4 * heads + len(resolved.layers))
            for shots, cell in kept.items()
        )

    def maps_bytes(n: int) -> int:
        size = np.dtype(_MAP_TYPE).itemsize * heads
        return sum(
            size
            * len(ids)
            * ((settings[shots] - 1) * (len(one.prefix_ids) + len(ids)) + len(many.prefix_ids) + len(ids))
            for shots, cell in kept.items()
            for one, many in [(cell.prompts.zero_shot, cell.prompts.icl)]
            for ids in one.query_ids[:n]
        )

    room = int(asked.keep_megabytes * 1e6)
    wanted = min(asked.keep_rows, queries), min(asked.keep_maps, asked.keep_rows, queries)
    rows = next(n for n in range(wanted[0], -1, -1) if rows_bytes(n) <= room)
    maps = next(n for n in range(wanted[1], -1, -1) if rows_bytes(rows) + maps_bytes(n) <= room)
    taken = rows_bytes(rows) + maps_bytes(maps)
    if (rows, maps) == wanted:
        return Keeping(rows, maps, taken)
    return Keeping(
        rows,
        maps,
        taken,
        f"rows of attention of {rows} queries and maps of {maps} are kept to be looked at: {wanted[0]} and "
        f"{wanted[1]} would take {(rows_bytes(wanted[0]) + maps_bytes(wanted[1])) / 1e6:,.0f} MB of "
        f"{asked.keep_megabytes:,g} (keep_megabytes)",
    )


@dataclass
class Kept:
    """What is kept, as it comes: rows of tables and groups of arrays.

    Attributes:
        keeping: Of how many queries.
        seed: Of which draw.
        settings: Rows of the table ``kept``, by the comparison's place.
        tokens: Rows of ``kept_tokens``, by the number of shots.
        arrays: Groups of arrays.
    """

    keeping: Keeping
    seed: int
    settings: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    tokens: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    arrays: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    @property
    def nothing(self) -> bool:
        """Whether nothing is asked for."""
        return self.keeping.rows == self.keeping.maps == 0

    def add_pretrained(
        self,
        model: LanguageModel,
        shots: int,
        cell: Cell,
        pretrained: Pretrained,
        places: Iterable[int],
        labels: Sequence[str],
    ) -> None:
        """Keep the zero-shot and the in-context setting of a draw, for the comparisons at some places.

        Args:
            model: The model, with its own weights.
            shots: Demonstrations asked for.
            cell: The draw.
            pretrained: What was recorded of it.
            places: The comparisons that are made with it.
            labels: What the labels are called.
        """
        if self.nothing or cell.seed != self.seed:
            return
        self.tokens[shots] = list(_token_rows(model, cell, max(self.keeping.rows, self.keeping.maps), labels))
        recorded: dict[Setting, tuple[PromptSet, Capture]] = {
            "zsl": (cell.prompts.zero_shot, pretrained.zero_shot.capture),
            "icl": (cell.prompts.icl, pretrained.icl),
        }
        for setting, (prompts, whole) in recorded.items():
            group = f"attention-{setting}-{shots}shots"
            self.arrays[group] = {
                **self._rows(whole.select(torch.arange(self.keeping.rows))),
                **self._maps(model, prompts, whole),
            }
            for place in places:
                self.settings.setdefault(place, []).append(self._setting(setting, group))

    def watch(self, cell: Cell, batches: Iterator[tuple[Tensor, Capture]]) -> Watched:
        """Return the batches of a finetuned setting, of which rows are kept as they go by."""
        return Watched(batches, self.keeping.rows if cell.seed == self.seed else 0)

    def table_rows(self, place: int, shots: int) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of both tables of the comparison at a place, which has so many shots."""
        tokens = [{"seed": self.seed, **row} for row in self.tokens.get(shots, [])]
        return {"kept": self.settings.get(place, []), "kept_tokens": tokens}

    def add_finetuned(
        self, model: LanguageModel, shots: int, cell: Cell, watched: Watched, place: int, name: str
    ) -> None:
        """Keep the finetuned setting of a comparison.

        Args:
            model: The model, with the finetuned weights.
            shots: Demonstrations asked for.
            cell: The draw.
            watched: Its batches, all of which went by.
            place: The comparison's place.
            name: What was finetuned how.
        """
        if self.nothing or cell.seed != self.seed or watched.like is None:
            return
        group = f"attention-ft-{shots}shots-{re.sub(r'[^A-Za-z0-9._]+', '-', name)[-_LONGEST_NAME:]}"
        while group in self.arrays:
            group += "-again"
        self.arrays[group] = {
            **watched.rows(),
            "layers": np.array(watched.like.layers),
            **self._maps(model, cell.prompts.zero_shot, watched.like),
        }
        self.settings.setdefault(place, []).append(self._setting("ft", group))

    def _setting(self, setting: Setting, group: str) -> dict[str, Any]:
        keeping = self.keeping
        return {
            "seed": self.seed,
            "setting": setting,
            "arrays": group,
            "rows": keeping.rows,
            "maps": keeping.maps,
        }

    def _rows(self, few: Capture) -> dict[str, np.ndarray]:
        return {**_row_arrays(few), "layers": np.array(few.layers)}

    def _maps(self, model: LanguageModel, prompts: PromptSet, like: Capture) -> dict[str, np.ndarray]:
        """Return the pattern of every token of the first queries over the whole prompt, of the layers recorded."""
        if not self.keeping.maps:
            return {}
        few = PromptSet(
            prompts.prefix_ids, prompts.query_ids[: self.keeping.maps], bos_length=prompts.bos_length
        )
        plan = CapturePlan(sites=("pattern",), layers=like.layers, positions="all", columns="all")
        recorded = capture(model, few, plan, batch_size=_MAPS_AT_ONCE)
        assert recorded.pattern is not None
        found = {}
        for query, ids in enumerate(few.query_ids):
            own = recorded.pattern[query, :, : len(ids), :, : len(few.prefix_ids) + len(ids)]
            found[f"map-{query}"] = rearrange(own, "l p h t -> l h p t").numpy().astype(_MAP_TYPE)
        return found


class Watched(Iterator[tuple[Tensor, Capture]]):
    """Batches of a setting that go by, of whose first queries the compared row is kept."""

    def __init__(self, batches: Iterator[tuple[Tensor, Capture]], rows: int) -> None:
        """Keep rows of so many queries."""
        self._batches, self._wanted = batches, rows
        self._found: list[tuple[list[int], dict[str, np.ndarray]]] = []
        self.like: Capture | None = None

    def __next__(self) -> tuple[Tensor, Capture]:
        """Return the next batch."""
        indices, batch = next(self._batches)
        self.like = batch
        chosen = (indices < self._wanted).nonzero()[:, 0]
        if len(chosen):
            self._found.append((indices[chosen].tolist(), _row_arrays(batch.select(chosen))))
        return indices, batch

    def rows(self) -> dict[str, np.ndarray]:
        """Return the arrays of all rows in the order of the queries, padded with zeros."""
        if not self._found:
            return {}
        width = max(arrays["scores"].shape[-1] for _, arrays in self._found)
        whole: dict[str, np.ndarray] = {}
        for indices, arrays in self._found:
            for name, values in arrays.items():
                shape = (self._wanted, *values.shape[1:-1], width)
                whole.setdefault(name, np.zeros(shape, values.dtype))[indices, ..., : values.shape[-1]] = (
                    values
                )
        return whole


def _row_arrays(few: Capture) -> dict[str, np.ndarray]:
    assert few.scores is not None and few.visible is not None
    if not few.n:
        return {}
    return {"scores": few.scores.contiguous().numpy(), "visible": few.visible.contiguous().numpy()}


def _token_rows(
    model: LanguageModel, cell: Cell, queries: int, labels: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield one row a token: what stands before every query in each setting, then each query's own tokens."""
    zero_shot, icl = cell.prompts.zero_shot, cell.prompts.icl
    own = zero_shot.query_ids[:queries]
    texts = token_texts(model.tokenizer, {*icl.prefix_ids, *(token for ids in own for token in ids)})

    def rows(ids: Sequence[int], spans: Iterable[Span], **where: Any) -> Iterator[dict[str, Any]]:
        parts = {token: span for span in reversed(tuple(spans)) for token in span.tokens}
        for token, number in enumerate(ids):
            span = parts.get(token)
            yield {
                "setting": None,
                "query": None,
                **where,
                "token": token,
                "id": number,
                "text": texts[number],
                "part": "" if span is None else span.name,
                "demonstration": None if span is None else span.demonstration,
                "label": None if span is None or span.label is None else labels[span.label],
            }

    for setting, prompts in {"zsl": zero_shot, "icl": icl}.items():
        yield from rows(prompts.prefix_ids, prompts.spans(0), setting=setting)
    prefix = len(zero_shot.prefix_ids)
    for query, ids in enumerate(own):
        inner = [span.moved(-prefix) for span in zero_shot.spans(query) if span.start >= prefix]
        yield from rows(ids, inner, query=query)
