"""The filter of system calls that stands between a sample and the kernel.

Python needs hundreds of system calls; refused are those that no honest sample needs, and that
reach other processes, namespaces, the kernel's own machinery, or memory that no limit covers.
"""

import contextlib
import errno
import os
import tempfile
from functools import cache

from scripts.lib.sandbox.model import SandboxUnavailable

REFUSED = (
    # Other processes.
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_open",
    "pidfd_getfd", "pidfd_send_signal", "move_pages", "migrate_pages",
    # Namespaces, file systems, roots.
    "unshare", "setns", "mount", "umount2", "umount", "pivot_root", "chroot", "open_tree",
    "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr",
    "open_by_handle_at", "name_to_handle_at", "swapon", "swapoff", "quotactl", "quotactl_fd",
    "fanotify_init", "fanotify_mark",
    # State that would outlive a sample.
    "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "add_key", "request_key", "keyctl",
    "mq_open", "mq_unlink", "shmget", "shmat", "shmctl", "semget", "semop", "semctl",
    "semtimedop", "msgget", "msgsnd", "msgrcv", "msgctl",
    # Memory that no limit covers.
    "memfd_create", "memfd_secret", "mlockall", "mlock", "mlock2", "remap_file_pages",
    "userfaultfd",
    # The kernel's own machinery.
    "bpf", "perf_event_open", "io_uring_setup", "io_uring_enter", "io_uring_register",
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module",
    "create_module", "reboot", "syslog", "acct", "iopl", "ioperm", "modify_ldt", "vm86",
    "vm86old", "lookup_dcookie", "nfsservctl", "_sysctl", "sysfs", "uselib", "ustat", "vhangup",
    "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "stime", "sethostname",
    "setdomainname", "seccomp", "landlock_create_ruleset", "landlock_add_rule",
    "landlock_restrict_self", "lsm_set_self_attr", "personality", "vmsplice", "tee", "splice",
)  # fmt: skip
# Its flags are in memory, where no filter sees them; libraries fall back to `clone`.
UNKNOWN = "clone3"
NAMESPACE_FLAGS = 0x7E020080
AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
PRIO_PROCESS = 0
F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETPIPE_SZ, F_NOTIFY = 8, 10, 15, 1031, 1026
# The kernel looks at the lower half of these arguments alone.
INT = 0xFFFFFFFF
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
SIGCHLD = 17
ATTRIBUTES = (
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime",
    "utimes", "utimensat", "futimesat", "flock",
)  # fmt: skip
SIGNALS = ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal")


@cache
def filter_program(sockets: bool, signals: bool) -> bytes:
    """The filter as the kernel takes it, for the machine's architecture.

    sockets: whether a sample may make any; only where it has a network namespace of its own.
    signals: whether it may send any, and change attributes of files; only where it has namespaces
        of its own, because Landlock covers neither.

    Raises SandboxUnavailable where libseccomp is missing.
    """
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError) as error:
        raise SandboxUnavailable(
            f"no filter of system calls can be made ({error}); install libseccomp: "
            "`apt-get install libseccomp2` or `dnf install libseccomp`"
        ) from None
    refuse, unknown = pyseccomp.ERRNO(errno.EPERM), pyseccomp.ERRNO(errno.ENOSYS)
    made = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    # A tree: most calls are found in a few steps. Older libraries know lists only.
    with contextlib.suppress(OSError):
        made.set_attr(pyseccomp.Attr.CTL_OPTIMIZE, 2)

    def rule(action: int, name: str, *arguments: tuple[int, ...]) -> None:
        # A library older than the system call, or an architecture without it: the self-test finds
        # out whether something is open that should not be.
        with contextlib.suppress(OSError):
            made.add_rule(action, name, *(pyseccomp.Arg(*argument) for argument in arguments))

    for name in REFUSED:
        rule(refuse, name)
    rule(unknown, UNKNOWN)
    for bit in range(32):
        if NAMESPACE_FLAGS >> bit & 1:
            rule(refuse, "clone", (0, pyseccomp.MASKED_EQ, 1 << bit, 1 << bit))
    # Limits, priorities and processors of other processes, the jail's first one among them.
    rule(refuse, "prlimit64", (0, pyseccomp.NE, 0))
    rule(refuse, "setpriority", (0, pyseccomp.NE, PRIO_PROCESS))
    rule(refuse, "setpriority", (1, pyseccomp.NE, 0))
    for name in ("sched_setparam", "sched_setscheduler", "sched_setaffinity", "sched_setattr"):
        rule(refuse, name, (0, pyseccomp.NE, 0))
    rule(refuse, "ioprio_set")
    for command in (F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETPIPE_SZ, F_NOTIFY):
        rule(refuse, "fcntl", (1, pyseccomp.MASKED_EQ, INT, command))
    for request in (TIOCSTI, TIOCLINUX):
        rule(refuse, "ioctl", (1, pyseccomp.MASKED_EQ, INT, request))
    if sockets:
        rule(refuse, "socket", (0, pyseccomp.GT, AF_INET6))
        for family in range(AF_INET6):
            if family not in (AF_UNIX, AF_INET):
                rule(refuse, "socket", (0, pyseccomp.EQ, family))
    else:
        for name in ("socket", "connect", "bind", "listen"):
            rule(refuse, name)
    # Children of a process that ignores their end are missing in its processor time.
    rule(refuse, "rt_sigaction", (0, pyseccomp.EQ, SIGCHLD), (1, pyseccomp.NE, 0))
    if not signals:
        for name in (*SIGNALS, *ATTRIBUTES):
            rule(refuse, name)
    with tempfile.TemporaryFile() as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()


def readable(program: bytes) -> int:
    """A descriptor from which bubblewrap reads a filter; the caller closes it."""
    reader, writer = os.pipe()
    os.write(writer, program)
    os.close(writer)
    return reader
