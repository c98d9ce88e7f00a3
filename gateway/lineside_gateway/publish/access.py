"""Who may do what on the hosted server: anonymous clients read, nobody else gets in."""

from __future__ import annotations

from asyncua import ua
from asyncua.crypto.permission_rules import USER_TYPES, SimpleRoleRuleset, User, UserRole
from asyncua.server.internal_server import InternalServer
from asyncua.server.user_managers import UserManager

from lineside_gateway.publish.caller import NOBODY, Caller, let_in
from lineside_gateway.publish.nodeids import ObjectIds, standard

_CHANGING = (ObjectIds.WriteRequest_Encoding_DefaultBinary,)


class AnonymousOnly(UserManager):
    """Admits clients without a user name and no one else.

    asyncua's default admits ``admin`` with any password and lets it add nodes. The test is on the user name: an
    anonymous client may still present its application certificate.
    """

    def get_user(
        self,
        iserver: InternalServer,
        username: str | None = None,
        password: str | None = None,
        certificate: object = None,
    ) -> User | None:
        """The reader for an anonymous client, None (refused) for any user name."""
        del iserver, password, certificate
        return None if username else User(role=UserRole.Anonymous)


class ReadOnlyRuleset(SimpleRoleRuleset):
    """Browse, read, subscribe, history and Call for everyone let in; Write and node management for no one.

    A method looks itself at who calls it: ``caller`` is noted here. ``anonymous`` is what clients without a user may.
    """

    def __init__(self, anonymous: Caller = NOBODY) -> None:
        self._anonymous = anonymous
        self._allowed = {standard(i) for i in USER_TYPES if i not in _CHANGING}

    def check_validity(self, user: User, action_type_id: ua.NodeId, body: object) -> bool:
        """True where the service only reads."""
        del user, body
        let_in(self._anonymous)
        return action_type_id in self._allowed
