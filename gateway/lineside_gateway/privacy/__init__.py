"""Privacy: pseudonyms for what leaves the gateway, and the removal of what it has recorded."""

from lineside_gateway.privacy.forgetting import Forgotten, Subject, forget
from lineside_gateway.privacy.masking import MaskingDispatcher
from lineside_gateway.privacy.pseudonyms import PrivacyError, Pseudonyms

__all__ = ["Forgotten", "MaskingDispatcher", "PrivacyError", "Pseudonyms", "Subject", "forget"]
