"""YAML without surprises: the 1.2 core schema, read safely, with errors that name the line.

``1e-3`` is a number; ``off``, ``010`` and ``2026-01-01`` are text; a key that stands twice, an
alias, and any tag beyond mappings, lists and scalars are errors. Nothing is merged, interpolated
or evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import yaml

from robolearn.errors import UserError

TAG = "tag:yaml.org,2002:"
SCALARS = {  # https://yaml.org/spec/1.2.2/#1032-tag-resolution, less octal and hexadecimal
    "bool": re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"),
    "int": re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"),
    "float": re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    "null": re.compile(r"^(?:~|null|Null|NULL|)$"),
}
RESOLVERS = {None: [(TAG + name, pattern) for name, pattern in SCALARS.items()]}


@dataclass(frozen=True)
class Document:
    """The value of a YAML text, which knows on which line each part of it was written."""

    value: Any  # dict, list, str, int, float, bool or None
    node: yaml.Node | None

    def line(self, keys: Sequence[str | int]) -> int | None:
        """Give the line, from 1, of the last of the nested ``keys`` that can be found."""
        line, node = None, self.node
        for key in keys:
            if isinstance(node, yaml.MappingNode):
                pairs = [(k, v) for k, v in node.value if k.value == key]
                if pairs:
                    line, node = pairs[0][0].start_mark.line + 1, pairs[0][1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int):
                node = node.value[key]
                line = node.start_mark.line + 1
        return line


def parse(text: str, where: str) -> Document:
    """Read YAML; UserError that begins with ``where``, and the line if there are several."""
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return Document(None if node is None else loader.construct_document(node), node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None and "\n" in text else ""
        raise UserError(f"{where}{line}: {getattr(error, 'problem', None) or error}") from None
    except RecursionError:
        raise UserError(f"{where}: too many values inside each other") from None
    except ValueError:  # Python reads no whole number of more than 4,300 digits
        raise UserError(f"{where}: a number has too many digits") from None
    finally:
        if loader is not None:
            loader.dispose()


def dump(values: Mapping[str, Any]) -> str:
    """Write plain values as YAML, in their order; ``parse`` gives equal ones back."""
    return yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar = RESOLVERS
    yaml_constructors: ClassVar = {
        tag: yaml.SafeLoader.yaml_constructors[tag]
        for tag in [None, *(TAG + name for name in (*SCALARS, "str", "seq", "map"))]
    }

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse aliases: a value stands where it is used."""
        if self.check_event(yaml.AliasEvent):
            raise _fault("an alias; write the value out", self.peek_event())
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        """Refuse keys that are no text or that stand twice."""
        seen = set()
        for key, _ in node.value:
            if key.tag != TAG + "str":
                raise _fault("a key must be text", key)
            if key.value in seen:
                raise _fault(f"key '{key.value}' stands twice", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _fault(problem: str, at: yaml.Node | yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1, or 1.2's core schema, would take for something else."""

    yaml_implicit_resolvers: ClassVar = yaml.SafeDumper.yaml_implicit_resolvers | RESOLVERS
