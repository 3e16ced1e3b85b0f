"""Runs one sample inside the jail; nothing else of this package is visible there.

    python runner.py WALL_SECONDS MEMORY_BYTES PROCESSES FILE_BYTES UID

The first process of the jail (this one) keeps the time. Its child gives up all privileges, takes
the limits upon itself and executes the sample. Standard input brings 32 bytes of nonce, then the
marshalled (code, tests). Standard output gets the line READY and, at the end,

    SECONDS HOW\\n[NONCE VERDICT DETAIL]

where HOW is `exit N`, `signal N` or `timeout`, and the second line is what the sample's process
reported, if it did. When this process ends, the kernel kills whatever the sample left behind.

It starts once for every sample, so that it imports only modules which take no time to load:
`signal` and `ctypes` proper take longer than all the rest.
"""

import _ctypes
import _signal
import marshal
import os
import resource
import sys
import time

READY = b"ready\n"
NONCE_BYTES = 32
REPORT_BYTES = 4096
DETAIL_CHARACTERS = 300
OPEN_FILES = 64
STACK_BYTES = 8 << 20
PR_SET_DUMPABLE = 4


def main() -> None:
    wall, (memory, processes, file_size, uid) = float(sys.argv[1]), map(int, sys.argv[2:])
    # In its own user namespace the sample has the same user id as this process: it may not look
    # into it, stop it or interrupt it. All other signals from inside are ignored by the kernel.
    forbid_inspection()
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    os.write(1, READY)

    receiver, sender = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(receiver)
        leave = os._exit
        # The nonce waits in the pipe, then on the interpreter's value stack: it is in no variable
        # while the sample runs, and this process ends before the sample can see it.
        os.write(sender, os.read(0, NONCE_BYTES) + judge(wall, memory, processes, file_size, uid))
        leave(0)

    os.close(sender)
    how = wait_for(child, started + wall)
    seconds = time.monotonic() - started
    os.write(1, f"{seconds:.6f} {how}\n".encode() + read_available(receiver))
    os._exit(0)


def forbid_inspection() -> None:
    """Close /proc/PID of this process and its forks to others of the same user, and ptrace too."""
    prctl = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")
    if _ctypes.call_function(prctl, (PR_SET_DUMPABLE, 0, 0, 0, 0)) != 0:
        raise OSError("prctl(PR_SET_DUMPABLE) failed")


def wait_for(child: int, deadline: float) -> str:
    """How the child ended; everything else that ends meanwhile is reaped."""
    # Blocked, the signal stays pending: one that comes after the reaping is not missed.
    _signal.pthread_sigmask(_signal.SIG_BLOCK, [_signal.SIGCHLD])
    while True:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                code = os.waitstatus_to_exitcode(ended[1])
                return f"exit {code}" if code >= 0 else f"signal {-code}"
        left = deadline - time.monotonic()
        if left <= 0:
            return "timeout"
        _signal.sigtimedwait([_signal.SIGCHLD], left)


def read_available(pipe: int) -> bytes:
    # A descendant of the sample may hold the other end open: do not wait for it.
    os.set_blocking(pipe, False)
    try:
        return os.read(pipe, REPORT_BYTES)
    except BlockingIOError:
        return b""


def judge(wall: float, memory: int, processes: int, file_size: int, uid: int) -> bytes:
    """Execute the sample; the verdict and, behind a space, its detail."""
    code, tests = marshal.loads(read_all(0))
    close_standard_streams()
    limit(wall, memory, processes, file_size)
    if uid:
        drop_privileges(uid)
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    # A real module: dataclasses, pickle and typing look it up. Its name keeps main guards shut.
    module = type(sys)("solution")
    sys.modules["solution"] = module

    # The sample may replace the built-in functions, and it may fork.
    execute, translate, current_pid, leave = exec, compile, os.getpid, os._exit
    pid = current_pid()
    number, source = 0, code
    try:
        for number, source in enumerate((code, *tests)):
            name = f"<test {number}>" if number else "<code>"
            execute(translate(source, name, "exec", dont_inherit=True), module.__dict__)
    except AssertionError as error:
        verdict = b"failed" if number else b"error"
        return b" ".join((verdict, describe(error, number, source)))
    except BaseException as error:
        return b" ".join((b"error", describe(error, number, source)))
    finally:
        if current_pid() != pid:
            leave(0)
    return b"passed"


def read_all(descriptor: int) -> bytes:
    chunks = []
    while chunk := os.read(descriptor, 1 << 16):
        chunks.append(chunk)
    return b"".join(chunks)


def close_standard_streams() -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def limit(wall: float, memory: int, processes: int, file_size: int) -> None:
    # Processor time stands behind the wall clock, for the case that the time-keeper is disturbed.
    # A second later, the kernel kills instead of sending SIGXCPU, which means a timeout.
    cpu = int(wall) + 2
    for name, soft, hard in (
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_NPROC, processes, processes),
        (resource.RLIMIT_FSIZE, file_size, file_size),
        (resource.RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES),
        (resource.RLIMIT_STACK, STACK_BYTES, STACK_BYTES),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
    ):
        ceiling = resource.getrlimit(name)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(name, (soft, hard))


def drop_privileges(uid: int) -> None:
    """Become an unprivileged user; the kernel drops all capabilities with it."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def describe(error: BaseException, number: int, source: str) -> bytes:
    """Where and what, from an exception that may be the sample's own and hostile."""
    place, name = f"test {number}" if number else "code", type(error).__name__
    try:
        text = f"{place}: {name}: {error}"[:DETAIL_CHARACTERS] if str(error) else ""
    except BaseException:
        text = ""
    if not text:
        text = f"{place}: {name} in {source}" if number else f"{place}: {name}"
    return text[:DETAIL_CHARACTERS].encode("utf-8", "backslashreplace")


if __name__ == "__main__":
    main()
