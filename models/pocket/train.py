"""Train the embedded model and its two smaller sisters: ``python -m iclprobe.models.pocket.train --out DIR``.

The length of training is a number of tokens, never a time, and every batch is a function of the seed and the
step, so a run on the same machine gives the same weights.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field

from ...errors import UserError
from ...seeds import derive_seed
from ...settings import LARGEST, Positive, Seed, Settings, make_config
from ...tasks.pocket import DEFAULT_POCKET_TASK
from ...tasks.pocket_language import BEGIN, END, PAD, VOCABULARY
from .corpus import Document, draw_batch, token_batch
from .measure import pocket_accuracy
from .tokenizer import CONTEXT_LENGTH, build_tokenizer

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

MONITORED_TASKS = (DEFAULT_POCKET_TASK, "pocket-topic", "pocket-tone", "pocket-tone-code", "pocket-claim")


Size = Annotated[int, Field(ge=1, le=100_000)]
"""A width or a number of layers, heads or tokens; a model of more would be no pocket model."""
Steps = Annotated[int, Field(ge=1, le=100_000_000)]
"""Optimiser steps, or between two of a kind."""
Step = Annotated[int, Field(ge=0, le=100_000_000)]
"""How many steps were taken."""


class PocketRecipe(Settings):
    """How one pocket model is built and trained.

    Attributes:
        name: Directory of the final weights.
        layers: Number of layers.
        width: Model width d.
        heads: Attention heads a layer.
        hidden: Width of the gated MLP.
        steps: Optimiser steps.
        plain_steps: Steps at the start in which all labelled documents are plain; then half of them are.
        tokens_per_step: Tokens in a batch, whatever the length of its documents.
        length: Tokens of most documents.
        long_every: Every so many steps the documents fill the whole context window.
        initial_std: Standard deviation of the initial matrices. It is near ``1 / sqrt(width)``; with the 0.02
            that suits wide models this narrow one needs several times the tokens.
        learning_rate: Peak of the schedule: linear warmup, constant, linear to zero over the last quarter.
        warmup: Steps of the warmup.
        weight_decay: Of AdamW, on matrices.
        checkpoints: Steps whose weights are kept (the last step is the final model).
        seed: Of the initial weights and the batches.
    """

    name: str = "pocket"
    layers: Size = 6
    width: Size = 112
    heads: Size = 4
    hidden: Size = 240
    steps: Steps = 1280
    plain_steps: Step = 900
    tokens_per_step: Size = 6144
    length: Size = 192
    long_every: Steps = 24
    initial_std: Positive = 0.07
    learning_rate: Positive = 2e-3
    warmup: Steps = 60
    weight_decay: Annotated[float, Field(ge=0, le=LARGEST)] = 0.05
    checkpoints: tuple[Step, ...] = (0, 16, 32, 64, 128, 256, 362, 512, 608, 724, 861, 1024, 1152)
    seed: Seed = 0


POCKET = PocketRecipe()
POCKET_SMALL = PocketRecipe(name="pocket-small", layers=4, width=48, hidden=128, checkpoints=())
POCKET_MINI = PocketRecipe(name="pocket-mini", layers=2, width=32, hidden=96, checkpoints=())


def build_model(recipe: PocketRecipe) -> LlamaForCausalLM:
    """Build the untrained Llama of a recipe, with weights from its seed."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=recipe.width,
        intermediate_size=recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True,
        # Positions are easier to tell apart by attention with biases and faster rotations; prompts are short.
        attention_bias=True,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
        bos_token_id=VOCABULARY.index(BEGIN),
        eos_token_id=VOCABULARY.index(END),
        pad_token_id=VOCABULARY.index(PAD),
    )
    model = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(derive_seed("pocket-weights", recipe.name, recipe.seed))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=recipe.initial_std, generator=generator)
    return model


def train(
    recipe: PocketRecipe, out: Path, *, device: str = "cpu", report: Callable[[str], None] = print
) -> LlamaForCausalLM:
    """Train one model with the plain next-token objective and save its final weights and checkpoints.

    Args:
        recipe: What to train.
        out: Directory that gets ``NAME/`` and ``NAME-steps/step-SSSSSS/``.
        device: Where to train.
        report: Receives one line of progress now and then.

    Returns:
        The trained model, in evaluation mode.
    """
    model = build_model(recipe)
    model.to(torch.device(device)).train()  # type: ignore[arg-type]
    # With bfloat16 products on a CPU the plain implementation is the fastest.
    model.set_attn_implementation("eager")
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    started, losses = time.monotonic(), list[float]()
    for step in range(recipe.steps):
        if step in recipe.checkpoints:
            save(model, out / f"{recipe.name}-steps" / f"step-{step:06d}")
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * learning_rate_factor(step, recipe.warmup, recipe.steps)
        ids = torch.from_numpy(token_batch(training_documents(recipe, step))).to(device)
        with torch.autocast(ids.device.type, torch.bfloat16):
            logits = model(input_ids=ids).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 128 == 0 or step + 1 == recipe.steps:
            report(_progress(model, recipe, step + 1, losses[-128:], time.monotonic() - started))
    model.eval()
    save(model, out / recipe.name)
    return model


def training_documents(recipe: PocketRecipe, step: int) -> list[Document]:
    """Return the documents that a step trains on."""
    length = CONTEXT_LENGTH if step % recipe.long_every == recipe.long_every - 1 else recipe.length
    rows = max(1, recipe.tokens_per_step // length)
    return draw_batch(recipe.seed, step, rows, length, 1.0 if step < recipe.plain_steps else 0.5)


def learning_rate_factor(step: int, warmup: int, steps: int) -> float:
    """Return the fraction of the peak learning rate at a step: warmup, constant, then down over the last quarter."""
    return min(1.0, (step + 1) / warmup, 4 * (steps - step) / steps)


def save(model: LlamaForCausalLM, directory: Path) -> None:
    """Write half-precision weights, the configuration and the tokenizer, so that the directory loads alone."""
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    model.config.save_pretrained(directory)
    build_tokenizer().save_pretrained(directory)


def _progress(
    model: LlamaForCausalLM, recipe: PocketRecipe, step: int, losses: Sequence[float], seconds: float
) -> str:
    model.eval()
    accuracies = [pocket_accuracy(model, name, draws=1, queries=64) for name in MONITORED_TASKS]
    model.train()
    words = [f"{row.task} {row.zero_shot:.2f}/{row.icl:.2f}/{row.permuted:.2f}" for row in accuracies]
    tokens = step * recipe.tokens_per_step / 1e6
    loss = sum(losses) / len(losses)
    return f"{recipe.name} {step} {tokens:.1f}M tokens {seconds:.0f}s loss {loss:.3f} " + " | ".join(words)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train all three models into the directory given on the command line."""
    parser = argparse.ArgumentParser(description="Train the embedded pocket models.")
    parser.add_argument("--out", type=Path, required=True, help="directory that gets the weights")
    parser.add_argument("--device", default="cpu", help="where to train, such as cpu or cuda")
    parser.add_argument("--steps", type=int, help="train this many steps instead of the published number")
    parser.add_argument("--only", choices=[recipe.name for recipe in (POCKET, POCKET_SMALL, POCKET_MINI)])
    options = parser.parse_args(arguments)
    for recipe in (POCKET, POCKET_SMALL, POCKET_MINI):
        if options.only not in (None, recipe.name):
            continue
        values = recipe.model_dump() | ({} if options.steps is None else {"steps": options.steps})
        try:
            chosen = make_config(PocketRecipe, values, "the recipe", {"steps": "--steps"})
        except UserError as error:
            parser.error(str(error))
        train(chosen, options.out, device=options.device, report=lambda line: print(line, flush=True))
        (options.out / f"{recipe.name}-recipe.json").write_text(json.dumps(chosen.model_dump(), indent=1))


if __name__ == "__main__":
    main()
