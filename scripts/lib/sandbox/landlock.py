"""Landlock, for machines whose users may make no namespaces: what of the files a sample sees.

It needs no privileges, but Linux 5.13. Our own code, because it is three system calls, and a
descriptor has to be handed to a process that can import no package.
"""

import ctypes
import os
import struct

from scripts.lib.sandbox.model import SandboxUnavailable

CREATE_RULESET, ADD_RULE = 444, 445
VERSION_FLAG, PATH_BENEATH = 1, 1
EXECUTE, READ_FILE, READ_DIRECTORY = 1 << 0, 1 << 2, 1 << 3
WRITE_FILE, TRUNCATE = 1 << 1, 1 << 14
FILES_ONLY = EXECUTE | READ_FILE | WRITE_FILE | TRUNCATE
# What each version of the interface can restrict beyond the one before.
RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
# Version 6 and later: abstract Unix sockets and signals to processes outside.
SCOPES = 3
TCP = 3


def ruleset(readable: list[str], writable: list[str]) -> int:
    """A descriptor of rules: these paths may be read and executed, or written as well.

    Raises SandboxUnavailable where the kernel has no Landlock.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE_RULESET, None, 0, VERSION_FLAG)
    if version < 1:
        raise SandboxUnavailable("the kernel has no Landlock (Linux 5.13, and lsm=...,landlock)")
    handled = sum(rights for since, rights in RIGHTS.items() if version >= since)
    attributes = struct.pack(
        "QQQ", handled, TCP if version >= 4 else 0, SCOPES if version >= 6 else 0
    )
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = libc.syscall(CREATE_RULESET, attributes, size, 0)
    if rules < 0:
        raise SandboxUnavailable(f"Landlock refuses: {os.strerror(ctypes.get_errno())}")
    for paths, rights in ((readable, EXECUTE | READ_FILE | READ_DIRECTORY), (writable, handled)):
        for path in filter(os.path.exists, paths):
            place = os.open(path, os.O_PATH)
            allowed = rights if os.path.isdir(path) else rights & FILES_ONLY
            # The structure is packed: 8 bytes, then 4.
            rule = struct.pack("=Qi", allowed & handled, place)
            failed = libc.syscall(ADD_RULE, rules, PATH_BENEATH, rule, 0)
            os.close(place)
            if failed:
                raise SandboxUnavailable(f"Landlock refuses {path}")
    return rules
