"""Each kind of clipping has its stated norm afterwards, and none is another (R10)."""

from __future__ import annotations

import pytest
import torch
from model_snapshot import fresh, sequences

from iclprobe.errors import UserError
from iclprobe.models.clip_kinds import ClipKind
from iclprobe.models.clipping import clip_gradients
from iclprobe.models.finetuning import finetune
from iclprobe.models.loading import load_model
from iclprobe.models.recipe import load_recipe

GRADIENTS = [torch.tensor([3.0, 4.0]), torch.tensor([[12.0]]), torch.tensor([0.6, 0.8])]
LAYERS = [0, 0, 1]


def _clip(kind: ClipKind, limit: float) -> list[torch.Tensor]:
    return clip_gradients(GRADIENTS, LAYERS, kind, limit)


def test_global_l2_scales_all_to_one_joint_norm():
    got = _clip("global_l2", 1.0)
    assert torch.cat([g.flatten() for g in got]).norm().item() == pytest.approx(1.0)
    joint = (3**2 + 4**2 + 12**2 + 1) ** 0.5
    torch.testing.assert_close(got[0], GRADIENTS[0] / joint)


def test_per_layer_l2_scales_each_layer_by_itself():
    got = _clip("per_layer_l2", 6.5)
    assert torch.cat([got[0], got[1].flatten()]).norm().item() == pytest.approx(6.5)  # 13 before
    torch.testing.assert_close(got[2], GRADIENTS[2])  # its norm of 1 is within the limit


def test_linf_scales_until_no_entry_is_larger_and_keeps_the_direction():
    got = _clip("linf", 6.0)
    assert max(g.abs().max().item() for g in got) == pytest.approx(6.0)
    for before, after in zip(GRADIENTS, got, strict=True):
        torch.testing.assert_close(after, before / 2)


def test_value_cuts_each_entry_and_so_turns_the_direction():
    got = _clip("value", 3.5)
    assert [g.flatten().tolist() for g in got] == [[3.0, 3.5], [3.5], pytest.approx([0.6, 0.8])]


@pytest.mark.parametrize("kind", ["global_l2", "per_layer_l2", "linf", "value"])
def test_what_is_within_the_limit_stays_bit_for_bit(kind: ClipKind):
    assert all(torch.equal(a, b) for a, b in zip(_clip(kind, 1e3), GRADIENTS, strict=True))
    zero = [torch.zeros(2)]
    assert torch.equal(clip_gradients(zero, [0], kind, 1.0)[0], zero[0])


@pytest.mark.parametrize("schedule", ["joint", "layer_causal"])
def test_a_clipped_step_of_sgd_has_the_norm_of_the_limit(schedule: str):
    module = fresh("llama")
    recipe = load_recipe(
        {"preset": "dai", "name": "clipped", "schedule": schedule, "clip": "global_l2", "clip_value": 0.5}
    )
    done = finetune(load_model(module), sequences(1), recipe, learning_rate=1.0, seed=0)
    moved = [
        (tensor - module.get_parameter(name).detach()).flatten()
        for name, tensor in done.delta.tensors.items()
    ]
    assert torch.cat(moved).norm().item() == pytest.approx(0.5, rel=1e-4)


def test_a_limit_without_a_kind_is_refused():
    with pytest.raises(UserError, match="clip and clip_value belong together"):
        load_recipe({"clip_value": 12.0})
