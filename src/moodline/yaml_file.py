"""Reading the YAML that people write: recipes and label sets."""

from pathlib import Path
from typing import Any

import yaml

from moodline.errors import MoodlineError, one_line


class UniqueKeys(yaml.SafeLoader):
    """PyYAML's safe loader, of which the last of equal keys would silently win; here the second is refused."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        found: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in found:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} stands a second time", problem_mark=key.start_mark
                    )
                found.add((key.tag, key.value))
        return node


def read_yaml(path: Path, what: str) -> Any:
    """The content of a YAML file; ``what`` says what the file would be, for the error's sentence.

    Raises:
        MoodlineError: the file cannot be read, is no YAML, or has a key twice
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            return yaml.load(file, Loader=UniqueKeys)
    except Exception as error:  # PyYAML raises anything, by the value that a tag does not fit
        raise MoodlineError(f"{what} {path} cannot be read: {one_line(error)}") from error
