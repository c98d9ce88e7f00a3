"""Pieces shared by tasks that learn: their class, trees as tensors, networks, normalisers, intervals, metrics.

Nothing here knows a task or a plant. ``trees``, ``conformal``, ``metrics`` and ``normaliser`` need numpy alone;
``network`` imports torch and is imported by a task's ``model.py`` and ``training.py`` only.
"""
