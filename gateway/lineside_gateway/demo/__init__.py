"""The demo: the whole line on loopback, watched in a table and checked from outside by a plain OPC UA client."""

from pathlib import Path

REFPLANT_SETTINGS = Path(__file__).with_name("refplant.yaml")
"""Settings of a gateway for RefPlant; endpoints and broker come from environment variables."""
