"""Settings for the whole suite."""

from hypothesis import settings

# Machines are shared and noisy: how long one example takes says nothing about the code.
settings.register_profile("lineside", deadline=None)
settings.load_profile("lineside")
