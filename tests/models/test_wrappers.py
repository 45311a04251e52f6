"""Models that also see or hear: a checkpoint of one is loaded, and its text decoder captured as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_decoders
import tiny_wrappers
import torch
from expected_rows import EXACT, SITES, errors, expected_of
from tiny_wrappers import WRAPPERS
from transformers import AutoModelForMultimodalLM

from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.plan import CapturePlan
from iclprobe.models.loading import load_model
from iclprobe.models.weights import MATRICES, open_projections
from iclprobe.tasks.prompts import PromptSet


@pytest.mark.parametrize("name", list(WRAPPERS))
def test_the_text_decoder_of_a_saved_wrapper_is_captured_and_its_weights_read(
    name: str, tmp_path: Path
) -> None:
    saved: Any = tiny_wrappers.build(name)
    saved.save_pretrained(tmp_path)
    model = load_model(tmp_path)
    prompts = PromptSet(tiny_decoders.prefix(name), tiny_decoders.prompts(name), (), ())
    wanted = [expected_of(saved, prompts.full_ids(index)) for index in range(prompts.n)]
    sites: Any = tuple(site for site in SITES if site != "mlp_output" or wanted[0].mlp_output is not None)
    start = len(prompts.prefix_ids)
    for shared in (True, False):
        plan = CapturePlan(sites=sites, positions="all", columns="all")
        got = capture(model, prompts, plan, share_prefix=shared, batch_size=3)
        assert got.layers == wanted[0].layers
        for index, want in enumerate(wanted):
            length = len(prompts.full_ids(index))
            found = errors(got, index, want, range(start, length), slice(0, length))
            assert max(found.values()) <= EXACT, (shared, index, found)
    with (
        open_projections(tmp_path, matrices=MATRICES) as file,
        open_projections(model.module, matrices=MATRICES) as held,
    ):
        assert file.keys == held.keys
        assert {layer for layer, _ in file.keys} == {part.index for part in model.parts}
        for one, other in zip(file, held, strict=True):
            assert torch.equal(one.weight, other.weight)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("paligemma", "PaliGemmaForConditionalGeneration .* see those behind them, in both directions"),
        ("blip-2", "Blip2ForConditionalGeneration runs only with pixel_values beside a text"),
        ("instructblip", "runs only with pixel_values, qformer_input_ids beside a text"),
        ("kosmos-2", "model type 'kosmos_2_text_model' has no row in the table of families"),
    ],
)
def test_a_model_that_completes_no_text_alone_is_refused(name: str, message: str, tmp_path: Path) -> None:
    AutoModelForMultimodalLM.from_config(tiny_wrappers.config_of(name)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=message):
        capture(load_model(tmp_path), [[5, 6, 7]])
