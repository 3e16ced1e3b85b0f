"""What a child does to itself where no namespaces isolate it: Landlock, and the filter.

The rules are made by the supervisor; see `landlock` and `seccomp` there.
"""

import ctypes
import os
from _signal import SIGKILL
from collections.abc import Callable

RESTRICT_SELF = 446
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 22, 36, 38
SECCOMP_MODE_FILTER = 2
INSTRUCTION_BYTES = 8


class _Program(ctypes.Structure):
    """`struct sock_fprog` of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def become_reaper() -> None:
    """Inherit the orphans of this process's descendants, as process 1 of a namespace does."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def confinement(rules: list[int] | None) -> Callable[[], None]:
    """What a child calls to confine itself for good.

    rules: descriptors of a Landlock ruleset and of a filter program, `None` for neither. Raises
    OSError in the child if the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    program, landlock = None, -1
    if rules:
        landlock, reader = rules
        filters = b"".join(iter(lambda: os.read(reader, 1 << 16), b""))
        os.close(reader)
        program = _Program(len(filters) // INSTRUCTION_BYTES, filters)

    def confine() -> None:
        calls = [libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)]
        calls.append(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        if program:
            calls.append(libc.syscall(RESTRICT_SELF, landlock, 0))
            os.close(landlock)
            address = ctypes.byref(program)
            calls.append(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, address, 0, 0))
        if any(calls):
            raise OSError("this process cannot be confined")

    return confine
