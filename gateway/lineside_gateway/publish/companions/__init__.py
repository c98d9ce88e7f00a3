"""Companion specifications beside the own types, where the settings name a folder with their official nodesets."""

from lineside_gateway.publish.companions.companions import Companions

__all__ = ["Companions"]
