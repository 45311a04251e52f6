"""YAML in which no key stands twice: of two, the usual reader keeps the last without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yaml import MappingNode


def load_yaml(text: str) -> Any:
    """Read YAML as `yaml.safe_load` does, but refuse a mapping that has a key twice.

    Raises:
        yaml.YAMLError: For what cannot be read, with its line.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
            # A merge (<<: *base) may be overridden; only what is written out must be there once.
            written = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
            keys = [self.construct_object(key, deep=True) for key in written]
            for place, key in enumerate(keys):
                if key in keys[:place]:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key!r} stands there twice", written[place].start_mark
                    )
            return super().construct_mapping(node, deep)

    return yaml.load(text, Loader)
