"""Measuring a model: the problems of a benchmark, responses to them, scores and their intervals.

The protocols and what may be compared are in docs/evaluation.md.
"""
