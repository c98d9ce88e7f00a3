"""The checks behind ``lineside_plugins.testing``, which is the public door."""
