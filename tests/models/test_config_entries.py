"""Entries that no model can have are refused before anything is built with them."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

import iclprobe
from iclprobe.errors import UserError
from iclprobe.models.config_entries import refuse_foreign_width, refuse_impossible
from iclprobe.models.loading import load_model


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_hidden_layers": 10**18}, "num_hidden_layers"),
        ({"n_layer": -(10**9)}, "n_layer"),
        ({"decoder_layers": 1e300}, "decoder_layers"),
        ({"text_config": {"num_hidden_layers": 10**6}}, r"text_config\.num_hidden_layers"),
        ({"rms_norm_eps": math.nan}, "rms_norm_eps"),
        ({"rope_parameters": {"factor": math.inf}}, r"rope_parameters\.factor"),
        ({"text_config": "later"}, "text_config"),
        ({"rope_parameters": {"short_factor": [1.0]}}, r"rope_parameters\.short_factor"),
        ({"transformers_weights": "../a.safetensors"}, "transformers_weights"),
        ({"transformers_weights": 3}, "transformers_weights"),
    ],
)
def test_an_impossible_entry_is_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=rf"config\.json of 'made' says .* for {named}, "):
        refuse_impossible("made", settings)


def test_what_real_configurations_say_passes() -> None:
    # A limit of Mamba's time steps is infinite, and lists are not looked into.
    refuse_impossible(
        "made",
        {
            "num_hidden_layers": 126,
            "time_step_limit": [0.0, math.inf],
            "text_config": {"num_hidden_layers": 2},
            "decoder_config": None,
            "transformers_weights": "half.safetensors",
            "rope_parameters": {"short_factor": [1.0, 2.0], "long_factor": [1.0, 3.0]},
        },
    )


@pytest.mark.parametrize("width", [4096, 16])
def test_a_width_that_no_weight_has_is_refused_before_a_model_is_built(
    width: int, checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(checkpoint, folder)
    held = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(held | {"hidden_size": width}))
    with pytest.raises(UserError):
        load_model(folder)
    with pytest.raises(UserError, match="has shape"):
        iclprobe.sparsity(str(folder))


def test_a_foreign_width_is_named() -> None:
    class Config:
        hidden_size = 64

    refuse_foreign_width("made", Config(), [(3, 64), (64,)])
    with pytest.raises(UserError, match="hidden_size 64"):
        refuse_foreign_width("made", Config(), [(3, 32), (32,)])
