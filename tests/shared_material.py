"""Finds the real data and models that lie beside the repository; tests that need them are skipped without."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
REAL_MODELS = Path(__file__).resolve().parent.parent / ".real-models"

TOKENIZERS = ("stories260k", "babyllama-tok105", "gpt2-tokenizer")
"""SentencePiece with byte fallback; single characters, no newline; byte-level, no begin-of-sequence."""


def shared(path: str) -> Path:
    """The file or folder at `path` inside `../shared`; skips the test where it is absent."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"{path} is not in {SHARED}")
    return found


def real_model(name: str) -> Path:
    """The folder of a real pretrained model that `make real-models` fetched; skips the test where it is absent."""
    found = REAL_MODELS / name
    if not found.is_dir():
        pytest.skip(f"{name} is not in {REAL_MODELS}: make real-models fetches it")
    return found


def shared_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of the model folder `name`; skips the test where it is absent."""
    return _load_tokenizer(shared(f"models/{name}"))


@cache
def _load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(path))
