"""The plant-wide switch as methods of ``Lineside/Gateway``: one that holds at advisory, one that gives back."""

from __future__ import annotations

from asyncua import ua

from lineside_gateway.publish.caller import caller
from lineside_gateway.publish.conditions.answers import Answers
from lineside_gateway.publish.conditions.methods import answering
from lineside_gateway.publish.names import GATEWAY
from lineside_gateway.publish.nodeids import StatusCodes, status_code
from lineside_gateway.publish.variables import Builder, argument

HOLD, RELEASE = "HoldAtAdvisory", "ReleaseFromAdvisory"
_REASON = (argument("Reason", ua.VariantType.LocalizedText, "Why, for the audit log"),)


async def add_advisory_methods(builder: Builder, answers: Answers) -> None:
    """Add both. Whoever may answer may hold; giving back takes the right to release, and never exceeds the settings."""

    async def hold(_parent: ua.NodeId, reason: ua.LocalizedText | None) -> ua.StatusCode:
        await answers.hold(True, caller().name, str(reason.Text or "") if reason else "")
        return status_code(StatusCodes.Good)

    async def release(_parent: ua.NodeId, reason: ua.LocalizedText | None) -> ua.StatusCode:
        if not caller().releases:
            return status_code(StatusCodes.BadUserAccessDenied)
        await answers.hold(False, caller().name, str(reason.Text or "") if reason else "")
        return status_code(StatusCodes.Good)

    parent, session = builder.node_id(GATEWAY), builder.server.iserver.isession
    for name, method, words in (
        (HOLD, hold, "Hold every task at advisory: nothing is written to the plant"),
        (RELEASE, release, "Give every task the mode that the settings name"),
    ):
        node = await builder.add_method(parent, f"{GATEWAY}/{name}", name, words, _REASON)
        session.add_method_callback(node, answering(method))
