"""Maintenance: how long each machine will last, what is wearing out, and when to take it out of service."""
