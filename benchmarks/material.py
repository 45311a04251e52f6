"""The model and the prompts that every benchmark of capture uses: Llama shape, 8 layers of width 512, fp32."""

from __future__ import annotations

import torch

from iclprobe import LanguageModel, PromptSet, load_model

LAYERS, WIDTH, HEADS, KEY_VALUE_HEADS, VOCABULARY = 8, 512, 8, 8, 8192
PREFIX_TOKENS, QUERIES, QUERY_TOKENS = 600, 200, (30, 50)


def build_model(attention: str = "sdpa") -> LanguageModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_VALUE_HEADS,
        vocab_size=VOCABULARY,
        max_position_embeddings=2048,
    )
    model = LlamaForCausalLM(config).eval()
    model.set_attn_implementation(attention)
    return load_model(model)


def build_prompts(
    queries: int = QUERIES, prefix_tokens: int = PREFIX_TOKENS, query_tokens: tuple[int, int] = QUERY_TOKENS
) -> PromptSet:
    generator = torch.Generator().manual_seed(1)

    def draw(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, VOCABULARY, (length,), generator=generator).tolist())

    lengths = torch.randint(*query_tokens, (queries,), generator=generator).tolist()
    return PromptSet(draw(prefix_tokens), tuple(draw(length) for length in lengths))


def full_batches(prompts: PromptSet, batch_size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return full prompts, sorted by length and padded on the right: tokens and which of them are real."""
    order = sorted(range(prompts.n), key=lambda index: -len(prompts.query_ids[index]))
    batches = []
    for start in range(0, prompts.n, batch_size):
        sequences = [prompts.full_ids(index) for index in order[start : start + batch_size]]
        longest = max(map(len, sequences))
        tokens = torch.zeros(len(sequences), longest, dtype=torch.long)
        exists = torch.zeros_like(tokens)
        for row, ids in enumerate(sequences):
            tokens[row, : len(ids)] = torch.tensor(ids)
            exists[row, : len(ids)] = 1
        batches.append((tokens, exists))
    return batches
