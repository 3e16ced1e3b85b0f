"""A parameter of a rule that changes no result."""


class Untracked:
    """A value whose change reruns nothing: Snakemake compares those of built-in types alone."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __getitem__(self, key: object) -> object:
        return self._value[key]

    def __str__(self) -> str:
        return str(self._value)
