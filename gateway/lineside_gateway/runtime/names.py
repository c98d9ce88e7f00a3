"""How people and machines are named where others read it, as the settings say."""

from __future__ import annotations

from lineside_gateway.dispatch import Dispatcher
from lineside_gateway.privacy import MaskingDispatcher, Pseudonyms
from lineside_gateway.settings import Naming, Settings


class Names:
    """Plain names, or pseudonyms with the key in ``data_dir``, which is made on first use."""

    def __init__(self, settings: Settings) -> None:
        """Read or make the key where anything has a pseudonym.

        Raises:
            PrivacyError: The key cannot be used.
        """
        self._settings = settings.privacy
        masked = Naming.PSEUDONYM in {settings.privacy.operators, settings.privacy.equipment}
        self._pseudonyms = Pseudonyms.of_folder(settings.gateway.data_dir) if masked else None

    def operator(self, name: str) -> str:
        """What others read for a user or operator."""
        if self._pseudonyms is None or self._settings.operators is Naming.PLAIN:
            return name
        return self._pseudonyms.operator(name)

    def outgoing(self, dispatcher: Dispatcher) -> Dispatcher:
        """``dispatcher``, or one before it that names nobody to broker and workers."""
        if self._pseudonyms is None or self._settings.equipment is Naming.PLAIN:
            return dispatcher
        return MaskingDispatcher(dispatcher, self._pseudonyms, self._settings.drop)
