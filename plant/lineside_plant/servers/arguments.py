"""Method arguments, checked before any code of ours sees them.

asyncua calls a method with whatever a client sent and answers BadUnexpectedError when that raises; here a wrong count
or type gives the StatusCode of OPC UA Part 4, 5.12.2 and names the argument.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from asyncua import ua
from asyncua.common.node import Node
from asyncua.ua.status_codes import StatusCodes

from lineside_plant.servers.nodeids import text


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a method. ``structure`` is the class an ExtensionObject must decode to."""

    name: str
    data_type: ua.VariantType
    description: str = ""
    array: bool = False
    structure: type | None = None
    structure_id: ua.NodeId | None = None

    @property
    def definition(self) -> ua.Argument:
        """The OPC UA Argument structure."""
        result = ua.Argument()
        result.Name = ua.String(self.name)
        result.DataType = self.structure_id or ua.NodeId(ua.Int32(self.data_type.value))
        result.ValueRank = ua.Int32(ua.ValueRank.OneDimension if self.array else ua.ValueRank.Scalar)
        result.ArrayDimensions = [ua.UInt32(0)] if self.array else []
        result.Description = ua.LocalizedText(self.description or self.name)
        return result

    def accepts(self, variant: ua.Variant) -> bool:
        """Whether ``variant`` has this argument's type; a null stands for an empty array."""
        if self.array and variant.Value is None:
            return True
        if variant.VariantType != self.data_type or bool(variant.is_array) != self.array:
            return False
        return self.structure is None or isinstance(variant.Value, self.structure)


@dataclass(frozen=True, slots=True)
class Method:
    """A method of an object: ``call`` gets the plain values and returns the plain outputs, or an error StatusCode."""

    name: str
    call: Callable[..., Awaitable[Sequence[Any] | int]]
    inputs: tuple[Argument, ...]
    outputs: tuple[Argument, ...]

    async def answer(self, _parent: ua.NodeId, *variants: ua.Variant) -> ua.CallMethodResult:
        """Check ``variants``, call, and wrap the outputs."""
        result = ua.CallMethodResult()
        if len(variants) != len(self.inputs):
            few = len(variants) < len(self.inputs)
            return _failed(result, StatusCodes.BadArgumentsMissing if few else StatusCodes.BadTooManyArguments)
        accepted = [argument.accepts(variant) for argument, variant in zip(self.inputs, variants, strict=True)]
        if not all(accepted):
            result.InputArgumentResults = [
                ua.StatusCode(ua.UInt32(StatusCodes.Good if good else StatusCodes.BadTypeMismatch)) for good in accepted
            ]
            return _failed(result, StatusCodes.BadInvalidArgument)
        answer = await self.call(*(variant.Value for variant in variants))
        if isinstance(answer, int):
            return _failed(result, answer)
        result.OutputArguments = [
            ua.Variant(value, argument.data_type) for value, argument in zip(answer, self.outputs, strict=True)
        ]
        return result


def _failed(result: ua.CallMethodResult, status: int) -> ua.CallMethodResult:
    result.StatusCode = ua.StatusCode(ua.UInt32(status))
    return result


async def add_method(parent: Node, index: int, name_index: int, method: Method) -> Node:
    """Add ``method`` to ``parent``: NodeId in namespace ``index``, BrowseName in ``name_index``."""
    nodeid = text(f"{parent.nodeid.Identifier!s}.{method.name}", index)
    return await parent.add_method(
        nodeid,
        ua.QualifiedName(method.name, ua.UInt16(name_index)),
        method.answer,
        [argument.definition for argument in method.inputs],
        [argument.definition for argument in method.outputs],
    )
