"""From a server's address to settings that work: finds the machines there and matches what tasks read.

All but ``survey`` is pure: it looks at browsed nodes and gives text.
"""
