"""The protocol of engines: a model is opened for a plan, and runs batches, with or without recording them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor

from ..forward import Forward
from ..forward_rows import Recording
from ..resolved_plan import ResolvedPlan
from ..rows import Wanted


class OpenedModel(Protocol):
    """A model while an engine holds it open for one plan."""

    @property
    def forward(self) -> Forward:
        """What runs a batch and records nothing."""
        ...

    def record(
        self,
        wanted: Wanted,
        tokens: Tensor,
        exists: Tensor,
        *,
        cache: Any = None,
        use_cache: bool = False,
        keep_logits: Tensor | None = None,
    ) -> tuple[Any, Recording]:
        """Run a batch as `forward` does; return its output too, and what the plan asks for of the wanted rows.

        The recording holds for each site ``[B, L, P, …]`` in fp32 on the CPU, in the shapes of
        `iclprobe.hooks.site_shapes`, and with scores or patterns ``visible`` ``[B, L, P, 1, W]``.

        Raises:
            UserError: If a site gave nothing in a layer, or something else than the family's row says.
        """
        ...


class Engine(Protocol):
    """What runs a model and reads its attention.

    Attributes:
        name: How it is called.
        version: The version of the library that it stands on.
        takes_cache: Whether keys and values of a shared prefix can be given to it; if not, every prompt runs whole.
            Read while a model is open, for it may depend on the model.
        attends_apart: Whether queries may attend to a shared prefix, which is there once, and to own tokens apart.
        forms_scores: Whether it forms every attention score in memory, whatever the model's own attention does.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> str: ...  # noqa: D102
    @property
    def takes_cache(self) -> bool: ...  # noqa: D102
    @property
    def attends_apart(self) -> bool: ...  # noqa: D102
    @property
    def forms_scores(self) -> bool: ...  # noqa: D102

    def open(self, resolved: ResolvedPlan) -> AbstractContextManager[OpenedModel]:
        """Open a model for a plan; on leaving nothing of it is left on the model.

        Raises:
            UserError: If the engine cannot run this model, or cannot give what the plan asks for.
        """
        ...
