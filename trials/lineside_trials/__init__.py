"""Paired closed-loop trials: the same plant with and without Lineside. The one package that sees all the others."""
