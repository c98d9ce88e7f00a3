"""The ``lineside`` command line."""

from lineside_gateway.cli.app import app, main

__all__ = ["app", "main"]
