"""Small tokenizers made on the spot, each with one habit that the shared ones lack."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast


def word_tokenizer(
    text: str, *, front: tuple[str, ...] = (), back: tuple[str, ...] = (), **special_tokens: str
) -> PreTrainedTokenizerBase:
    """One token for each word of `text` and for each of its spaces, newlines and punctuation marks.

    Args:
        text: Where the words come from; any other word is `<unk>`.
        front: Special tokens that it puts before every text.
        back: Special tokens that it puts after every text.
        special_tokens: Roles, such as `eos_token="</s>"`.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

    split = pre_tokenizers.Split(Regex(r"\w+|\W"), behavior="isolated")
    words = [word for word, _ in split.pre_tokenize_str(text)]
    names = dict.fromkeys(["<unk>", *front, *back, *special_tokens.values(), *words])
    ids = {name: index for index, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = split
    if front or back:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[*front, "$A", *back],
            pair=[*front, "$A", "$B:1", *back],
            special_tokens=[(name, ids[name]) for name in dict.fromkeys([*front, *back])],
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **special_tokens)


CHAT = (
    "{% for message in messages %}{{ '<turn>' + message['role'] + '\n' + message['content'] + '<end>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<turn>assistant\n' }}{% endif %}"
)
"""A chat template as many models have it: every message between two special tokens, text as it is."""


def chat_tokenizer(text: str, template: str = CHAT, **options: Any) -> PreTrainedTokenizerBase:
    """A word tokenizer that also knows how a chat is written; its end-of-sequence token ends a turn."""
    tokenizer = word_tokenizer(text + " user assistant\n", eos_token="<end>", sep_token="<turn>", **options)
    tokenizer.chat_template = template
    return tokenizer


def folding_tokenizer(text: str) -> PreTrainedTokenizerBase:
    """SentencePiece as XGLM has it: every run of white space is one space, and none is left at the end."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    pieces = [("<unk>", 0.0), ("</s>", 0.0), ("▁", -1.0), *((f"▁{word}", -1.0) for word in text.split())]
    tokenizer: Any = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
