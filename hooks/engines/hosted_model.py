"""Models whose weights are on a server: their modules, configuration and tokenizer, and no weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ...errors import UserError, shown
from ...models.families import listed_family, model_type_of
from ...models.loading import LanguageModel
from ...models.loading_errors import told_in_one_sentence
from ...models.tokenizer_files import load_tokenizer
from .nnsight_model import is_nnsight_model


@dataclass(frozen=True)
class HostedModel(LanguageModel):
    """A model that runs on a server.

    Attributes:
        envoy: nnsight's wrapper of its modules, whose weights take no memory.
    """

    envoy: Any = None

    @property
    def device(self) -> torch.device:
        """Where inputs go: here, from where they are sent."""
        return torch.device("cpu")


def load_hosted(model: Any) -> HostedModel:
    """Return a model by its name on the hub, without its weights.

    Args:
        model: The name, or a model that knows it: nnsight's wrapper, a model of ours or a module of transformers.

    Raises:
        UserError: If there is no such model, or the table of families has no row for it: none can be derived from
            modules without weights.
    """
    if isinstance(model, HostedModel):
        return model
    name, revision = _name_of(model)
    tokenizer = load_tokenizer(name, revision=revision)
    with told_in_one_sentence("model", name, revision):
        from nnsight import TransformersModel

        # Where attention forms no scores there are none to be seen; the server is told so with each request.
        envoy: Any = TransformersModel(
            name, revision=revision, task="text-generation", attn_implementation="eager", tokenizer=tokenizer
        )
    module = envoy._module
    family = listed_family(module.config)
    if family is None:
        raise UserError(
            f"no row of the table of families fits {model_type_of(module.config)!r}, and none can be derived from "
            f"{shown(name)} without its weights: add one with iclprobe.register_family(...)"
        )
    return HostedModel(module.eval(), family, tokenizer, name, revision, envoy=envoy)


def _name_of(model: Any) -> tuple[str, str | None]:
    if is_nnsight_model(model):
        if getattr(model, "peft", None) or not getattr(model, "repo_id", None):
            raise UserError(
                "NDIF runs models by their name on the hub: this nnsight model has none, or an adapter beside it"
            )
        return model.repo_id, model.revision
    if isinstance(model, LanguageModel):
        return model.name, model.revision
    if isinstance(model, torch.nn.Module):
        name = getattr(getattr(model, "config", None), "name_or_path", "")
        if not name:
            raise UserError(
                f"NDIF runs models by their name on the hub: this {type(model).__name__} has none"
            )
        return name, None
    return str(model), None
