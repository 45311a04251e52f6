"""How fast finetuning of the top layers is, and what layer-causal finetuning holds in memory."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import torch

from iclprobe import LanguageModel, Recipe, finetune, load_model, load_recipe
from iclprobe.tasks.prompt_set import TrainingSequence

from .measure import compare_pairs, peak_memory, ratio_to_dict
from .options import Options

LAYERS, WIDTH, VOCABULARY = 24, 256, 8192
DEMONSTRATIONS, TOKENS, EPOCHS = 8, 40, 200
TOP = (1, 3, 6)
# A batch whose logits are what memory goes to.
LARGE_LAYERS, LARGE_WIDTH, LARGE_VOCABULARY, LARGE_TOKENS = 12, 512, 32000, 128


def run(options: Options) -> dict[str, Any]:
    model, training = build_model(LAYERS, WIDTH, VOCABULARY), demonstrations(VOCABULARY, TOKENS)
    speed = {}
    for top in TOP:
        recipe = _top_layers(top)
        ratio = compare_pairs(
            lambda recipe=recipe: plain_loop(model, training, recipe),
            lambda recipe=recipe: finetune(model, training, recipe, learning_rate=1e-3, seed=0),
            options.pairs,
        )
        asked = 0.75 * (LAYERS + top) / (2 * top)
        speed[f"top {top} of {LAYERS} layers"] = {**ratio_to_dict(ratio), "asked for": round(asked, 2)}
    peaks = {
        name: min(_peak_in_child(name) for _ in range(options.pairs))
        for name in ("dai", "barnatan_lcft", "sequential")
    }
    return {
        "speed": {
            "shape": f"Llama, {LAYERS} layers of width {WIDTH}, fp32",
            "procedure": f"W_V of one layer, GD on {DEMONSTRATIONS} x {TOKENS} tokens, label loss, {EPOCHS} epochs",
            "plain loop, only the trained tensor requires grad / finetune": speed,
        },
        "peak memory of one epoch": {
            "shape": f"Llama, {LARGE_LAYERS} layers of width {LARGE_WIDTH}, vocabulary {LARGE_VOCABULARY}",
            "procedure": f"W_K and W_V of all layers, {DEMONSTRATIONS} x {LARGE_TOKENS} tokens in one forward",
            "bytes beyond the model": peaks,
            "layer-causal / standard": round(peaks["barnatan_lcft"] / peaks["dai"], 3),
            "sequential layer-causal / standard": round(peaks["sequential"] / peaks["dai"], 3),
        },
    }


def build_model(layers: int, width: int, vocabulary: int) -> LanguageModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        vocab_size=vocabulary,
    )
    return load_model(LlamaForCausalLM(config).eval())


def demonstrations(vocabulary: int, tokens: int) -> list[TrainingSequence]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, vocabulary, (DEMONSTRATIONS, tokens), generator=generator).tolist()
    return [TrainingSequence(tuple(row), tokens - 1) for row in ids]


def plain_loop(model: LanguageModel, training: list[TrainingSequence], recipe: Recipe) -> None:
    """What one would write by hand: full forwards, and a gradient of the trained tensor alone."""
    module: Any = model.module
    layer = int(recipe.parameters.rsplit("@", 1)[1])
    weight = module.model.layers[layer].self_attn.v_proj.weight
    before = weight.detach().clone()
    module.requires_grad_(False)
    weight.requires_grad_(True)
    ids = torch.tensor([sequence.ids for sequence in training])
    labels = torch.full_like(ids, -100)
    labels[:, training[0].label_start :] = ids[:, training[0].label_start :]
    optimizer = torch.optim.SGD([weight], lr=1e-3)
    for _ in range(recipe.epochs):
        optimizer.zero_grad()
        module(input_ids=ids, labels=labels, use_cache=False).loss.backward()
        optimizer.step()
    weight.data.copy_(before)
    weight.grad = None
    module.requires_grad_(True)


def _top_layers(top: int) -> Recipe:
    """W_V of the layer below which nothing is reached: gradients run through the top layers."""
    return Recipe(
        optimizer="gd",
        loss_tokens="label",
        epochs=EPOCHS,
        parameters=f"attn_v@{LAYERS - top}",
        include_bias=False,
    )


def _peak_in_child(name: str) -> int:
    code = "from benchmarks.finetuning_speed import report_peak; import sys; report_peak(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=True)
    return int(done.stdout.strip().splitlines()[-1])


def report_peak(name: str) -> None:
    """Finetune once and print the peak resident bytes that it added to the loaded model's."""
    changes = {"preset": "barnatan_lcft" if name == "sequential" else name, "batch_size": DEMONSTRATIONS}
    if name == "sequential":
        changes["layer_updates"] = "sequential"
    recipe = load_recipe(changes)
    model = build_model(LARGE_LAYERS, LARGE_WIDTH, LARGE_VOCABULARY)
    training = demonstrations(LARGE_VOCABULARY, LARGE_TOKENS)
    with torch.no_grad():
        model.module(input_ids=torch.zeros(1, 1, dtype=torch.long))
    before = peak_memory()
    finetune(model, training, recipe, learning_rate=1e-3, seed=0, forward_size=DEMONSTRATIONS)
    print(peak_memory() - before)
