"""A checkpoint and records on disk, small enough to run every setting in a moment."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from made_tokenizers import chat_tokenizer, word_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

NOUNS = ("cake", "train", "song", "storm", "goat", "pie", "road", "band")
GOOD, BAD = ("lovely", "sweet", "fine"), ("awful", "sour", "dull")
WORDS = " ".join(("the", "is", "Sentence:", "Label:", "good", "bad", "very", *NOUNS, *GOOD, *BAD))
TEMPLATE = "Sentence: {text} Label:"


def write_checkpoint(
    folder: Path,
    *,
    seed: int = 0,
    layers: int = 3,
    chat: bool = False,
    words: str = WORDS,
    begin_token: str = "<s>",
) -> Path:
    """Write a random Llama with its word tokenizer, whose scores are spread enough to matter."""
    if chat:
        tokenizer = chat_tokenizer(words, front=(begin_token,), bos_token=begin_token)
    else:
        tokenizer = word_tokenizer(words, front=(begin_token,), bos_token=begin_token, eos_token="</s>")
    names = (begin_token, str(tokenizer.eos_token))
    begin, end = (tokenizer(name, add_special_tokens=False)["input_ids"][0] for name in names)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=128,
        bos_token_id=int(begin),
        eos_token_id=int(end),
    )
    model = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    save(model, folder)
    tokenizer.save_pretrained(folder)
    return folder


def save(model: PreTrainedModel, folder: Path) -> None:
    model.save_pretrained(folder)


def write_records(folder: Path, *, train: int = 24, validation: int = 12, seed: int = 0) -> Path:
    """Write train.jsonl and validation.jsonl of a two-label task, all texts different."""
    generator = torch.Generator().manual_seed(seed)
    texts = [
        (f"the {noun} is {very}{adjective}", int(adjective in GOOD))
        for noun in NOUNS
        for adjective in GOOD + BAD
        for very in ("", "very ")
    ]
    order = torch.randperm(len(texts), generator=generator).tolist()
    folder.mkdir(parents=True, exist_ok=True)
    for name, indices in (
        ("train", order[:train]),
        ("validation", order[train : train + validation]),
    ):
        lines = [json.dumps({"text": texts[index][0], "label": texts[index][1]}) for index in indices]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder
