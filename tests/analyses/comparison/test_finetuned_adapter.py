"""An adapter in place of a recipe: it is merged into the very weights that are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from made_adapters import change_tensors, live, write_adapter
from model_snapshot import assert_as_it_was, snapshot

import iclprobe
from iclprobe import UserError
from iclprobe.models.delta import delta_from_module
from iclprobe.models.loading import load_model

peft: Any = pytest.importorskip("peft", reason="adapters need the peft extra")


def lora() -> Any:
    return peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj"])


@pytest.fixture
def adapter(checkpoint: Path, tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "adapter", load_model(checkpoint).module, lora())


def frame(records: Path, model: Any, **options: Any) -> Any:
    study = iclprobe.compare(
        model=model,
        task="tone",
        template="Sentence: {text} Label:",
        label_words=("bad", "good"),
        data=str(records),
        shots=4,
        limit=6,
        **options,
    )
    # Who finetuned stands in front.
    return study.to_pandas().drop(columns="recipe")


def test_an_adapter_counts_as_the_model_it_makes(
    checkpoint: Path, records: Path, adapter: Path, tmp_path: Path
) -> None:
    # A finetuned model is often saved without its tokenizer: the base model's serves.
    load_model(checkpoint, adapter=adapter).module.save_pretrained(tmp_path / "merged")
    wanted = frame(records, str(checkpoint), finetuned=str(tmp_path / "merged"))
    assert frame(records, str(checkpoint), finetuned=str(adapter)).equals(wanted)
    in_memory = load_model(checkpoint)
    before = snapshot(in_memory.module)
    assert frame(records, in_memory, finetuned=str(adapter)).equals(wanted)
    assert_as_it_was(in_memory.module, before)


def test_an_adapter_goes_on_top_of_weights_that_no_name_leads_to(
    checkpoint: Path, records: Path, adapter: Path, tmp_path: Path
) -> None:
    changed = load_model(checkpoint)
    with torch.no_grad():
        for parameter in changed.module.parameters():
            parameter.mul_(1.1)
    load_model(changed, adapter=adapter).module.save_pretrained(tmp_path / "merged")
    wanted = frame(records, changed, finetuned=str(tmp_path / "merged"))
    assert frame(records, changed, finetuned=str(adapter)).equals(wanted)


def test_an_adapter_that_does_not_fit_is_refused_here_too(
    checkpoint: Path, records: Path, adapter: Path
) -> None:
    change_tensors(adapter, lambda held: {name: t for name, t in held.items() if ".layers.0." not in name})
    with pytest.raises(UserError, match=r"lacks model\.layers\.0\.self_attn\.q_proj\.lora_A\.weight"):
        frame(records, str(checkpoint), finetuned=str(adapter))


def test_a_live_adapter_is_a_finetuned_model(checkpoint: Path, adapter: Path) -> None:
    base = load_model(checkpoint)
    wrapped = peft.PeftModel.from_pretrained(load_model(checkpoint).module, str(adapter))
    found = delta_from_module(base, wrapped)
    wanted = delta_from_module(base, load_model(checkpoint, adapter=adapter))
    assert found.tensors.keys() == wanted.tensors.keys()
    for name, tensor in wanted.tensors.items():
        torch.testing.assert_close(found.tensors[name], tensor, atol=1e-6, rtol=1e-5)
    with found.applied(base):
        ids = torch.tensor([[1, 5, 6, 7]])
        torch.testing.assert_close(base.module(ids).logits, wrapped(input_ids=ids).logits, atol=1e-3, rtol=0)


def test_a_base_with_a_live_adapter_takes_no_other(checkpoint: Path, records: Path, adapter: Path) -> None:
    base = load_model(checkpoint)
    wrapped = load_model(live(base.module, lora()), tokenizer=base.tokenizer)
    with pytest.raises(UserError, match=r"carries another: merge that one first"):
        frame(records, wrapped, finetuned=str(adapter))
