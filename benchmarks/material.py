"""The model and the prompts of a shape, drawn at random and always the same."""

from __future__ import annotations

import torch

from iclprobe import LanguageModel, PromptSet, load_model

from .shapes import VOCABULARY, Shape


def build_model(shape: Shape, attention: str = "sdpa") -> LanguageModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=shape.width,
        intermediate_size=4 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.width // 64,
        num_key_value_heads=shape.width // 64,
        vocab_size=VOCABULARY,
        max_position_embeddings=4096,
    )
    model = LlamaForCausalLM(config).eval()
    model.set_attn_implementation(attention)
    return load_model(model)


def build_prompts(shape: Shape) -> PromptSet:
    generator = torch.Generator().manual_seed(1)

    def draw(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, VOCABULARY, (length,), generator=generator).tolist())

    return PromptSet(draw(shape.prefix), tuple(draw(shape.query) for _ in range(shape.queries)))


def batches_of_tokens(prompts: PromptSet, batch_size: int, *, whole: bool) -> list[torch.Tensor]:
    """Return prompts, which are of one length, some at a time ``[B, S]``.

    Args:
        prompts: Which.
        batch_size: How many at a time.
        whole: With the prefix in front.
    """
    rows = [prompts.full_ids(index) if whole else prompts.query_ids[index] for index in range(prompts.n)]
    return list(torch.tensor(rows).split(batch_size))
