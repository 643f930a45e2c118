"""Plain data as YAML 1.2."""

from __future__ import annotations

import io
import re

from mentor_kit.core.frozen_model import Json

#: Texts that every reader of YAML takes for a text, and those among them that some do not.
_WORD = re.compile(r"[A-Za-z/_][\w/.+@-]*( [\w/.+@-]+)*", re.ASCII)
_RESERVED = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})


def to_yaml(data: dict[str, Json]) -> str:
    """The data in block style; texts that are not plainly words are quoted, since writers and readers differ there."""
    from ruamel.yaml import YAML
    from ruamel.yaml.nodes import ScalarNode
    from ruamel.yaml.representer import SafeRepresenter

    class Representer(SafeRepresenter):
        """Quotes texts."""

        def represent_text(self, text: str) -> ScalarNode:
            is_word = _WORD.fullmatch(text) and text.lower() not in _RESERVED
            node: ScalarNode = self.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_word else '"')
            return node

    Representer.add_representer(str, Representer.represent_text)
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 1 << 30
    stream = io.StringIO()
    yaml.dump(data, stream)
    return stream.getvalue()
