"""Writes plain data as YAML 1.2."""

from __future__ import annotations

import io
import re

from mentor_kit.core.frozen_model import Json

#: Strings that every reader of YAML takes for strings, and those among them that some do not.
_WORD = re.compile(r"[A-Za-z/_][\w/.+@-]*( [\w/.+@-]+)*", re.ASCII)
_RESERVED = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})


def to_yaml(data: dict[str, Json] | list[Json]) -> str:
    """Return the data in block style, so that readers of YAML 1.1 find the same.

    Strings other than plain words are quoted, and numbers with an exponent have a point: 1.0e-06.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.nodes import ScalarNode
    from ruamel.yaml.representer import SafeRepresenter

    class Representer(SafeRepresenter):
        """Writes what all readers take for the same."""

        def represent_text(self, string: str) -> ScalarNode:
            is_word = _WORD.fullmatch(string) and string.lower() not in _RESERVED
            node: ScalarNode = self.represent_scalar("tag:yaml.org,2002:str", string, style=None if is_word else '"')
            return node

        def represent_number(self, number: float) -> ScalarNode:
            node: ScalarNode = self.represent_float(number)
            if "." not in node.value:
                node.value = node.value.replace("e", ".0e")
            return node

    Representer.add_representer(str, Representer.represent_text)
    Representer.add_representer(float, Representer.represent_number)
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 1 << 30
    stream = io.StringIO()
    yaml.dump(data, stream)
    return stream.getvalue()
