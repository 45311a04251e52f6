"""YAML of plain values alone, of bounded depth and size, in which a word is a word.

PyYAML's own reader makes a number of ``8:16``, truth values of ``no`` and ``off`` and a date of ``2024-01-01``, runs
constructors that a tag names, keeps the last of two equal keys, and hands on what an alias stands for as often as it
is named, which whoever goes through the values has to pay for. Only what it would write itself without quotes is a
number here, so whatever it wrote is read back as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError, shown
from .text_files import LARGEST_SETTINGS, Unreadable, read_text

if TYPE_CHECKING:
    from yaml.nodes import MappingNode, Node, ScalarNode

DEEPEST_YAML = 32
"""Levels of lists and mappings in each other."""
MOST_VALUES = 10_000
"""Values of a text, each counted as often as an alias repeats it."""
LONGEST_NUMBER = 100
"""Characters of a number."""

_MERGE = "tag:yaml.org,2002:merge"
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FRACTION = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def parse_yaml(text: str) -> Any:
    """Return what a YAML text says: None, truth values, finite numbers, texts, lists and mappings.

    Numbers are decimal; ``yes``, ``no``, ``on``, ``off``, dates and whatever else is no number are texts.

    Raises:
        Unreadable: If it is no YAML, nests too deep or says too much; for tags, a key that stands twice or is no
            plain value, and numbers that are not finite or too long. The reason begins with the line.
    """
    import yaml

    try:
        node = _loader(text).get_single_node()
        return None if node is None else _Values().value_of(node, 0)
    except yaml.MarkedYAMLError as error:
        said = f"{error.problem or error.context}"
        mark = error.problem_mark or error.context_mark
        raise Unreadable(f"line {mark.line + 1 if mark else 1}: {said[:100]}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Unreadable(f"line {line}: a control character stands there") from error
    except RecursionError as error:
        raise Unreadable("line 1: it nests too deep") from error


def read_yaml(path: str | Path, what: str, example: str) -> dict[Any, Any]:
    """Return the keys and values of a YAML file.

    Args:
        path: The file.
        what: What it is, for the message.
        example: A line of such a file, for the message.

    Raises:
        UserError: If it cannot be read or holds something else.
    """
    try:
        content = parse_yaml(read_text(path, LARGEST_SETTINGS))
    except Unreadable as error:
        raise UserError(f"cannot read {what} {shown(path)}: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{what} {shown(path)} holds no keys and values: write lines such as {example!r}")
    return content


def _loader(text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        depth = 0

        def compose_node(self, parent: Node | None, index: Any) -> Node | None:
            event: Any = self.peek_event()
            if getattr(event, "tag", None) not in (None, "!"):
                raise _refused(event.start_mark.line, "tags such as !!int are not read; write plain values")
            if self.depth > DEEPEST_YAML:
                raise _refused(event.start_mark.line, f"it nests more than {DEEPEST_YAML} levels deep")
            self.depth += 1
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    return Loader(text)


def _refused(line: int, reason: str) -> Unreadable:
    return Unreadable(f"line {line + 1}: {reason}")


class _Values:
    """Goes through nodes and counts the values, so that an alias costs what it stands for."""

    def __init__(self) -> None:
        self._count = 0

    def value_of(self, node: Node, depth: int) -> Any:
        import yaml

        self._count += 1
        line = node.start_mark.line
        if self._count > MOST_VALUES:
            raise _refused(line, f"it says more than {MOST_VALUES:,} values, aliases written out")
        if depth > DEEPEST_YAML:
            raise _refused(line, f"it nests more than {DEEPEST_YAML} levels deep, aliases written out")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value_of(entry, depth + 1) for entry in node.value]
        assert isinstance(node, yaml.ScalarNode)
        return _scalar(node)

    def _mapping(self, node: MappingNode, depth: int) -> dict[Any, Any]:
        merged: dict[Any, Any] = {}
        own: dict[Any, Any] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                for base in self._bases(value, depth):
                    merged = {**base, **merged}
                continue
            name = self._key(key)
            if name in own:
                raise _refused(key.start_mark.line, f"the key {shown(name)} stands there twice")
            own[name] = self.value_of(value, depth + 1)
        return {**merged, **own}

    def _key(self, node: Node) -> Any:
        import yaml

        self._count += 1
        name = _scalar(node) if isinstance(node, yaml.ScalarNode) else None
        if name is None:
            raise _refused(
                node.start_mark.line, "a key is a list, a mapping or nothing; write a text or number"
            )
        return name

    def _bases(self, node: Node, depth: int) -> Iterator[dict[Any, Any]]:
        import yaml

        for base in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(base, yaml.MappingNode):
                raise _refused(node.start_mark.line, "what << takes over is no mapping")
            yield self.value_of(base, depth + 1)


def _scalar(node: ScalarNode) -> Any:
    text: str = node.value
    # Only what stands without quotation marks can be anything but a text.
    if node.style is not None or node.tag == "!":
        return text
    if text in _WORDS:
        return _WORDS[text]
    line = node.start_mark.line
    if _NOT_FINITE.fullmatch(text):
        raise _refused(line, f"{text} is no finite number")
    whole = _WHOLE.fullmatch(text) is not None
    if not whole and not _FRACTION.fullmatch(text):
        return text
    if len(text) > LONGEST_NUMBER:
        raise _refused(line, f"a number has {len(text):,} characters and at most {LONGEST_NUMBER} are read")
    number = int(text) if whole else float(text)
    if number in (float("inf"), float("-inf")):
        raise _refused(line, f"{text} is no finite number")
    return number
