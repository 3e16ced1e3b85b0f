"""Sampling many texts from one constant prompt, by one of several engines.

`engines.sample` is the way in. Every engine yields the same rows; which of them fits a machine, and
what each promises about repeated runs, is written in docs/generation.md.
"""
