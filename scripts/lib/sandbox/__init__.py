"""Executes untrusted code, isolated by Linux namespaces, and says whether its tests pass."""

from scripts.lib.sandbox.executor import Sandbox, open_sandbox
from scripts.lib.sandbox.model import Execution, Limits, SandboxUnavailable

__all__ = ["Execution", "Limits", "Sandbox", "SandboxUnavailable", "open_sandbox"]
