"""The pocket tokenizer: one token a word, as a Hugging Face fast tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...tasks.pocket_language import BEGIN, END, NEWLINE, PAD, UNKNOWN, VOCABULARY

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CONTEXT_LENGTH = 512


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer of pocket English.

    Text is cut at spaces and around line ends, a begin-of-sequence token is put in front, and decoding joins
    words with single spaces, with none around a line end. Because nothing merges across a space, the ids of
    ``text`` begin the ids of ``text + " " + word``.
    """
    from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, processors
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    ids = {token: index for index, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(" +"), "removed"),
            pre_tokenizers.Split(NEWLINE, "isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(Regex(r"^"), " "),
            decoders.Fuse(),
            decoders.Replace(Regex(r" ?\n ?"), NEWLINE),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A",
        pair=f"{BEGIN} $A {BEGIN} $B",
        special_tokens=[(BEGIN, ids[BEGIN])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        unk_token=UNKNOWN,
        pad_token=PAD,
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
    )
