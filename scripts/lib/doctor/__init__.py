"""What `make doctor` looks at, a module a kind, and what it finds: nothing is started or changed.

Its checks need the standard library alone wherever that can be, so that they can say which packages
are missing.
"""

from dataclasses import dataclass

# It is there; a run works, but worse or with a doubt; the main job cannot run with this config.
OK, WARN, MISSING = "ok", "warn", "missing"
# How long each question to something outside of this process may take.
SECONDS = 5.0


@dataclass(frozen=True)
class Finding:
    """One thing that a run needs; `remedy` is what to do about it."""

    state: str
    what: str
    detail: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f" ({self.remedy})" if self.remedy else ""
        return f"{self.state:<9}{self.what + ':':<10} {self.detail}{remedy}"
