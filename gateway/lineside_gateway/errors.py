"""Everything the gateway raises on purpose, as a tree.

::

LinesideError              one sentence for the operator, then the technical detail
├── SettingsError          the file is wrong; nothing starts
├── ConnectError           a server cannot be reached or a session is lost; the session loop tries again
│   ├── TrustError         a certificate is not trusted, or no endpoint offers the security asked for
│   └── CredentialsError   user, password or user certificate refused
├── NodeError              a node is missing, or is not what the task needs; the other nodes run on
│   └── WriteError         a value did not reach the plant; says whether trying again can help
├── JobControlError        the MES's job orders cannot be read or updated
├── WireError              bytes from a server are no OPC UA; nothing of the message is taken (opcua.wire.errors)
├── DiscoveryError         no settings can be proposed for a server (discovery.errors)
├── HostingError           the hosted server cannot start (publish.errors)
└── PublishError           a recommendation does not fit its hosted nodes; it is dropped (publish.errors)
"""

from __future__ import annotations

EXIT_CANNOT_GO_ON = 2


class LinesideError(Exception):
    """Base: ``sentence`` says what, which value, which bound and the next step; ``detail`` is for the engineer."""

    exit_code = EXIT_CANNOT_GO_ON

    def __init__(self, sentence: str, detail: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.detail = detail


class SettingsError(LinesideError):
    """The settings cannot be used; correct the file at the path named and start again."""


class ConnectError(LinesideError):
    """No session with a server; the session loop reconnects, other servers run on."""


class TrustError(ConnectError):
    """The security asked for cannot be had; nothing weaker is tried."""


class CredentialsError(ConnectError):
    """The server refused the user; correct user, password or user rights."""


class NodeError(LinesideError):
    """A node cannot be found or used; it is listed with its cause and tried again, the rest flows."""


class WriteError(NodeError):
    """A write did not take effect, or has no answer. ``permanent`` means that the same write will fail again.

    ``status`` names the StatusCode: the server's, or the one that fits where the gateway did not send the write.
    ``unanswered`` means that the write may have taken effect: look at the node before writing again.
    """

    def __init__(
        self,
        sentence: str,
        detail: str = "",
        *,
        permanent: bool,
        status: str = "BadNotWritable",
        unanswered: bool = False,
    ) -> None:
        super().__init__(sentence, detail)
        self.permanent = permanent
        self.status = status
        self.unanswered = unanswered


class JobControlError(LinesideError):
    """Job orders cannot be read or updated over ISA-95 Job Control; ``permanent`` as for a write."""

    def __init__(
        self, sentence: str, detail: str = "", *, permanent: bool = False, status: str = "BadNoCommunication"
    ) -> None:
        super().__init__(sentence, detail)
        self.permanent = permanent
        self.status = status
