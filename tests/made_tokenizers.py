"""Small tokenizers made on the spot, each with one habit that the shared ones lack."""

from __future__ import annotations

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
