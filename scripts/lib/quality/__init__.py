"""Statistics of a set of instructions: how far it is from a target set, how new, how diverse.

The paper (arXiv 2310.04484) shows pictures of these; here each number has an interval or a test
beside it. docs/instruction-quality.md says what they mean and how they were checked.
"""
