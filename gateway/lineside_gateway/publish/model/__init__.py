"""The types under ``urn:lineside:ua``: what a recommendation is, for every client that browses."""

from lineside_gateway.publish.model.types import METHODS, TypeModel

__all__ = ["METHODS", "TypeModel"]
