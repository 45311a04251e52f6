"""Loading a tokenizer from where a model lies, which may hold none."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..text_files import exists, is_folder
from .gguf_file import is_gguf, read_gguf
from .gguf_model import gguf_tokenizer
from .loading_errors import told_in_one_sentence
from .remote_code import needs_code, refusing_code

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Every file that a tokenizer class of transformers reads its vocabulary from, and those of custom code.
_VOCABULARY_FILES = (
    *("tokenizer.json", "tokenizer.*.json", "*.model", "vocab*", "merges.txt", "tekken.json", "*.tiktoken"),
    *("*.spm", "bpe.codes", "dict.txt", "byte_maps.json", "emoji.json", "*.tokenizer", "*.vocab", "*.bpe"),
)


def load_tokenizer(
    place: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase | None:
    """Load a tokenizer; None where there is none, for which transformers would make up an empty one.

    Args:
        place: A hub id, a directory or a GGUF file.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Whether to run code that comes with it.

    Raises:
        UserError: If it is damaged, or needs code that was not asked for.
    """
    from transformers import AutoTokenizer

    if is_gguf(place):
        with told_in_one_sentence("tokenizer", place):
            return gguf_tokenizer(read_gguf(Path(place)))
    with told_in_one_sentence("tokenizer", place, revision), refusing_code("tokenizer", place):
        own_code = _own_code(place, revision, trust_remote_code)
    if is_folder(place) and not own_code and not _holds_vocabulary(Path(place)):
        return None
    try:
        with told_in_one_sentence("tokenizer", place, revision), refusing_code("tokenizer", place):
            loaded = AutoTokenizer.from_pretrained(
                place, revision=revision, trust_remote_code=trust_remote_code
            )
            # Some of what its files say is looked at when a text is first cut.
            loaded("a")
    except UserError:
        if not own_code and _is_empty_snapshot(place, revision):
            return None
        raise
    return None if not own_code and _is_empty_snapshot(place, revision) else loaded


def require_vocabulary(place: str, tokenizer: Any) -> Any:
    """Return a tokenizer that was asked for by its place.

    Raises:
        UserError: If there is none.
    """
    if tokenizer is None:
        raise UserError(f"{place!r} holds no tokenizer: give tokenizer=… (--tokenizer DIR)")
    return tokenizer


def _own_code(place: str, revision: str | None, trust_remote_code: bool) -> bool:
    """Return whether a tokenizer's code comes with it and is to run.

    Raises:
        UserError: If it is not to run and the class is none of transformers', which would put another in its place.
    """
    from transformers.models.auto.tokenization_auto import get_tokenizer_config, tokenizer_class_from_name

    config = get_tokenizer_config(place, revision=revision)
    code = config.get("auto_map")
    code = code.get("AutoTokenizer") if isinstance(code, dict) else code
    if not code:
        return False
    name = config.get("tokenizer_class")
    if not trust_remote_code and not (isinstance(name, str) and tokenizer_class_from_name(name)):
        raise needs_code("tokenizer", place)
    return trust_remote_code


def _holds_vocabulary(folder: Path) -> bool:
    return any(fnmatch(path.name, pattern) for path in folder.iterdir() for pattern in _VOCABULARY_FILES)


def _is_empty_snapshot(place: str, revision: str | None) -> bool:
    """Return whether what the hub's cache now holds of a repository is known and has no vocabulary."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if exists(place):
        return False
    try:
        found = try_to_load_from_cache(place, "config.json", revision=revision)
    except HFValidationError:
        return False
    return isinstance(found, str) and not _holds_vocabulary(Path(found).parent)
