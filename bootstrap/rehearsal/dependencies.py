"""In which order a template's resources are deleted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from typing import Any


def dependants_first(resources: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of resources, each before those that it refers to or depends on."""
    graph = {name: {other for other in _named(described) if other in resources and other != name} for name, described in resources.items()}
    return list(TopologicalSorter(graph).static_order())[::-1]


def _named(value: Any) -> Iterator[str]:
    """What Ref, Fn::GetAtt, Fn::Sub and DependsOn below `value` name."""
    if isinstance(value, list):
        for each in value:
            yield from _named(each)
    elif isinstance(value, Mapping):
        for name, each in value.items():
            if name == "Ref" or (name == "DependsOn" and isinstance(each, str)):
                yield each
            elif name == "DependsOn":
                yield from each
            elif name == "Fn::GetAtt":
                yield each[0] if isinstance(each, list) else each.partition(".")[0]
            elif name == "Fn::Sub":
                yield from re.findall(r"\$\{(\w+)", each[0] if isinstance(each, list) else each)
            else:
                yield from _named(each)
