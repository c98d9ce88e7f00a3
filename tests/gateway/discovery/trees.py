"""Browsed trees written down: an Object is a mapping, a Variable its unit, or (data type, unit), or a Structure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lineside_gateway.opcua.browse import PROPERTY_TYPE, TreeNode

NUMBERS = {"Double", "Float", "Int32", "UInt32", "Boolean"}
FOLDER = "i=61"


class Structure(dict[str, Any]):
    """A Variable whose fields are Variables below it."""


class Typed(dict[str, Any]):
    """An Object of an ObjectType of its own."""

    def __init__(self, type_name: str, **below: Any) -> None:
        super().__init__(below)
        self.type_name = type_name


def browsed(tree: Mapping[str, Any], path: str = "Objects") -> list[TreeNode]:
    """Lines of the tree below ``path``, as ``lineside browse`` gives them."""
    out = [TreeNode(0, path.rpartition("/")[2], path, "Object", "i=85" if path == "Objects" else f"nsu=urn:t;s={path}")]
    _add(tree, path, 1, out)
    return out


def _add(tree: Mapping[str, Any], path: str, depth: int, out: list[TreeNode]) -> None:
    for name, below in tree.items():
        here = f"{path}/{name.replace('/', '&/')}"
        address = f"nsu=urn:t;s={here}"
        if isinstance(below, Mapping):
            if isinstance(below, Structure):
                out.append(TreeNode(depth, name, here, "Variable", address, "i=63", data_type="Udt", structured=True))
                _add(below, here, depth + 1, out)
                continue
            kind = below.type_name if isinstance(below, Typed) else ""
            out.append(TreeNode(depth, name, here, "Object", address, f"nsu=urn:t;s={kind}" if kind else FOLDER, kind))
            _add(below, here, depth + 1, out)
            continue
        data_type, unit = below if isinstance(below, tuple) else ("Double", below)
        type_ = PROPERTY_TYPE if data_type == "Property" else "i=63"
        out.append(
            TreeNode(
                depth, name, here, "Variable", address, type_,
                data_type=data_type, numeric=data_type in NUMBERS, structured=data_type == "Range", unit=unit,
            )
        )  # fmt: skip
