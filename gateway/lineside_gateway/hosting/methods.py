"""Method calls: arguments are counted and their types compared before any code of ours sees them."""

from __future__ import annotations

import logging
from typing import Any

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.server.address_space import AddressSpace, MethodService, NodeData
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaStatusCodeError

from lineside_gateway.opcua.standard import standard

logger = logging.getLogger(__name__)

_HAS_SUBTYPE, _HAS_PROPERTY = standard(ObjectIds.HasSubtype), standard(ObjectIds.HasProperty)
_HAS_COMPONENT, _HAS_TYPE = standard(ObjectIds.HasComponent), standard(ObjectIds.HasTypeDefinition)
_LAST_BUILT_IN = 25  # DiagnosticInfo; the VariantTypes of OPC UA Part 6, 5.1.2
_SIGNED = {2, 4, 6, 8}
_UNSIGNED = {3, 5, 7, 9}
_REAL = {10, 11}
_ANY_OF = {
    ObjectIds.BaseDataType: None,
    ObjectIds.Number: _SIGNED | _UNSIGNED | _REAL,
    ObjectIds.Integer: _SIGNED,
    ObjectIds.UInteger: _UNSIGNED,
    ObjectIds.Enumeration: {6},
}


class HostedMethods(MethodService):
    """Calls methods of the hosted address space; asyncua passes on whatever a client sends."""

    async def _call(self, method: ua.CallMethodRequest) -> ua.CallMethodResult:
        space: AddressSpace = self._aspace
        result, given = ua.CallMethodResult(), method.InputArguments or []
        place, node = space.get(method.ObjectId), space.get(method.MethodId)
        if place is None:
            return _answer(result, StatusCodes.BadNodeIdUnknown)
        if node is None or node.call is None or not _has(space, place, method.MethodId):
            return _answer(result, StatusCodes.BadMethodInvalid)
        declared = _declared(space, node)
        if len(given) != len(declared):
            few = len(given) < len(declared)
            return _answer(result, StatusCodes.BadArgumentsMissing if few else StatusCodes.BadTooManyArguments)
        fits = [_fits(space, a, v) for a, v in zip(declared, given, strict=True)]
        result.InputArgumentResults = [
            ua.StatusCode() if ok else ua.StatusCode(ua.UInt32(StatusCodes.BadTypeMismatch)) for ok in fits
        ]
        if not all(fits):
            return _answer(result, StatusCodes.BadInvalidArgument)
        return await self._run(node, method.ObjectId, given, result)

    async def _run(
        self, node: NodeData, place: ua.NodeId, given: list[ua.Variant], result: ua.CallMethodResult
    ) -> ua.CallMethodResult:
        try:
            answer = await self._run_method(node.call, place, *given)  # type: ignore[arg-type]  # checked by the caller
        except (ServiceError, UaStatusCodeError) as e:
            return _answer(result, e.code)
        except Exception:  # named supervision point: a method that fails answers its caller and ends nothing else
            logger.exception("method_failed method=%s", node.nodeid)
            return _answer(result, StatusCodes.BadUnexpectedError)
        if isinstance(answer, ua.CallMethodResult):
            return answer
        if isinstance(answer, ua.StatusCode):
            result.StatusCode = answer
        else:
            result.OutputArguments = answer or []
        return result


def _answer(result: ua.CallMethodResult, status: int) -> ua.CallMethodResult:
    result.StatusCode = ua.StatusCode(ua.UInt32(status))
    return result


def _has(space: AddressSpace, place: NodeData, method: ua.NodeId) -> bool:
    """Whether the Method is the Object's own or its type's (Part 4, 5.12.2)."""
    looked: set[ua.NodeId] = set()
    todo = [place]
    while todo:
        node = todo.pop()
        looked.add(node.nodeid)
        for r in node.references:
            if r.IsForward and r.ReferenceTypeId == _HAS_COMPONENT and r.NodeId == method:
                return True
            above = (r.ReferenceTypeId == _HAS_TYPE and r.IsForward) or (
                r.ReferenceTypeId == _HAS_SUBTYPE and not r.IsForward
            )
            found = space.get(r.NodeId) if above and r.NodeId not in looked else None
            if found is not None:
                todo.append(found)
    return False


def _declared(space: AddressSpace, node: NodeData) -> list[Any]:
    for r in node.references:
        if r.IsForward and r.ReferenceTypeId == _HAS_PROPERTY and r.BrowseName.Name == "InputArguments":
            value = space.read_attribute_value(r.NodeId, AttributeIds.Value).Value
            return list(value.Value or []) if value is not None else []
    return []


def _fits(space: AddressSpace, declared: Any, given: ua.Variant) -> bool:
    """Whether a value has the data type and rank its Argument declares; null stands for any type but a number's."""
    kinds = _variant_types(space, declared.DataType)
    array = bool(given.is_array)
    if declared.ValueRank == ua.ValueRank.Scalar and array:
        return False
    if declared.ValueRank >= ua.ValueRank.OneOrMoreDimensions and not array and given.Value is not None:
        return False
    if given.Value is None and not array:
        return kinds is None or not kinds & (_SIGNED | _UNSIGNED | _REAL | {1})
    return kinds is None or int(given.VariantType) in kinds


def _variant_types(space: AddressSpace, data_type: ua.NodeId) -> set[int] | None:
    """VariantTypes a value of ``data_type`` may have, following its supertypes; None for any."""
    seen: set[ua.NodeId] = set()
    while data_type not in seen:
        seen.add(data_type)
        identifier = data_type.Identifier
        if data_type.NamespaceIndex == 0 and isinstance(identifier, int):
            if identifier in _ANY_OF:
                return _ANY_OF[identifier]
            if 0 < identifier <= _LAST_BUILT_IN:
                return {identifier}
        node = space.get(data_type)
        above = [
            r.NodeId for r in (node.references if node else ()) if r.ReferenceTypeId == _HAS_SUBTYPE and not r.IsForward
        ]
        if not above:
            return None
        data_type = above[0]
    return None
