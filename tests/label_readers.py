"""Two transformers set by hand: one copies labels from its context, the other answers without looking at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from made_tokenizers import word_tokenizer
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from iclprobe import LanguageModel, Record, Task, Template, load_model

Kind = Literal["copies", "ignores"]

NOUNS = tuple(f"n{number}" for number in range(30))
CLASSES, LABELS, LETTERS = ("!", "?"), ("no", "yes"), ("A", "B")
_LENGTH, _SHARP = 128, 60.0


@dataclass(frozen=True)
class _Subspaces:
    """Where the residual stream keeps what: a token, its position, the token before it, and what is to be said."""

    tokens: int

    @property
    def token(self) -> slice:
        return slice(0, self.tokens)

    @property
    def position(self) -> slice:
        return slice(self.tokens, self.tokens + _LENGTH)

    @property
    def before(self) -> slice:
        return slice(self.position.stop, self.position.stop + self.tokens)

    @property
    def said(self) -> slice:
        return slice(self.before.stop, self.before.stop + self.tokens)

    @property
    def width(self) -> int:
        return self.said.stop


def label_reader(kind: Kind) -> LanguageModel:
    """A GPT-2 of two layers, one head and no MLP, every matrix of which is set by hand.

    The first layer writes down the token before each (Elhage et al. 2021, Olsson et al. 2022). In the second the
    model that ``copies`` looks, from the last token of a query, at tokens that stand behind the same token, and says
    what it finds: the labels of demonstrations of the same class. The model that ``ignores`` looks there at the same
    token, and says the label that its weights know for it.
    """
    tokenizer = word_tokenizer(
        " ".join((*NOUNS, *CLASSES, *LABELS, *LETTERS)), front=("<s>",), bos_token="<s>", eos_token="</s>"
    )
    space = _Subspaces(len(tokenizer))
    config = GPT2Config(
        vocab_size=space.tokens,
        n_positions=_LENGTH,
        n_embd=space.width,
        n_layer=2,
        n_head=1,
        n_inner=4,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
    )
    module = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.fill_(1.0 if "ln_" in name and name.endswith("weight") else 0.0)
        base: Any = module.transformer
        base.wte.weight[:, space.token] = torch.eye(space.tokens)
        base.wpe.weight[:, space.position] = torch.eye(_LENGTH)
        shift = torch.diag(torch.ones(_LENGTH - 1), 1)  # Position p looks where position p - 1 has its one.
        _attend(
            base.h[0],
            space.width,
            ones=2,
            query=(space.position, torch.eye(_LENGTH)),
            key=(space.position, shift),
            value=(space.token, torch.eye(space.tokens)),
            to=space.before,
        )
        if kind == "copies":
            key, value = space.before, torch.eye(space.tokens)
        else:
            key, value = space.token, torch.zeros(space.tokens, space.tokens)
            for name, label in zip(CLASSES, LABELS, strict=True):
                value[_id(tokenizer, name), _id(tokenizer, label)] = 1
        _attend(
            base.h[1],
            space.width,
            ones=3,
            query=(space.token, torch.eye(space.tokens)),
            key=(key, torch.eye(space.tokens)),
            value=(space.token, value),
            to=space.said,
        )
        module.lm_head.weight[:, space.said] = torch.eye(space.tokens)
    return load_model(module, tokenizer=tokenizer, device="cpu")


def _attend(
    block: Any,
    width: int,
    *,
    ones: int,
    query: tuple[slice, Tensor],
    key: tuple[slice, Tensor],
    value: tuple[slice, Tensor],
    to: slice,
) -> None:
    """Set a head that reads subspaces through matrices; what enters is so many ones, normalised by the norm."""
    mean = ones / width
    scale = (mean * (1 - mean)) ** 0.5
    weight, bias = block.attn.c_attn.weight, block.attn.c_attn.bias
    for third, (read, matrix), factor in (
        (0, query, _SHARP * width**0.5),
        (1, key, 1.0),
        (2, value, 1.0),
    ):
        columns = slice(third * width, third * width + matrix.shape[1])
        weight[read, columns] = factor * scale * matrix
        # What the norm takes away comes back, so that exactly the ones are read.
        bias[columns] = factor * mean * matrix.sum(0)
    written = value[1].shape[1]
    block.attn.c_proj.weight[:written, to] = torch.eye(written)


def _id(tokenizer: Any, word: str) -> int:
    return tokenizer.convert_tokens_to_ids(word)


def shape_task(train: int = 40, queries: int = 12) -> Task:
    """Queries of a noun and a class, which gives the label; nouns tell the records apart."""
    pairs = [(noun, label) for noun in NOUNS for label in range(2)]
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(5)).tolist()
    records = [
        Record({"text": f"{pairs[place][0]}{CLASSES[pairs[place][1]]}"}, pairs[place][1]) for place in order
    ]
    template = Template("own", "{text}", LABELS, " ", label_prefix="")
    return Task("shapes", LABELS, records[:train], records[train : train + queries], template, "made")
