"""Training and evaluation on recorded tags: data sets, heads, encoders, calibration, explanation, export.

Loops and files live here; the pure tensor and feature modules they drive live in ``lineside_plugins.learning``.
"""
