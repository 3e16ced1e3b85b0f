"""What a step shows: one stream for the terminal, the same text in the step's log.

`run_step` is the frame of every script: it copies whatever the process and its children print to
the terminal *and* to the log, turns an expected failure into one line and an exit status, and ends
the step when the Snakemake that started it is gone. Of several processes of one step the first
shows progress and counts, and what another one says begins with its number.
"""

import argparse
import contextlib
import errno
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from scripts.lib.errors import UserError
from scripts.lib.lifetime import die_with_parent, end_with_snakemake
from scripts.lib.ranks import rank, world_size

REPORT_SECONDS = 30.0
RECENT_REPORTS = 4
NOTE_SECONDS = 1.0

# The variable that tells a step how many GPUs were claimed for it.
GPUS = "ADA_INSTRUCT_GPUS"
# The one that tells each of several processes which process launched it.
LAUNCHER = "ADA_INSTRUCT_LAUNCHER"

# Where a progress bar may be drawn: the terminal itself, which the log must not see.
_terminal = sys.stderr


class _Tee:
    """Copies everything written to file descriptors 1 and 2 to the terminal and to a log file.

    It works on descriptors, not on `sys.stdout`, so that libraries written in C and child
    processes are heard as well. Several processes of a step write to the end of one log, which
    what launches them has emptied.
    """

    def __init__(self, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = open(log, "ab", buffering=0)
        if world_size() == 1:
            self._log.truncate(0)
        self._saved = os.dup(1), os.dup(2)
        read_end, write_end = os.pipe()
        os.dup2(write_end, 1)
        os.dup2(write_end, 2)
        os.close(write_end)
        self._reader = threading.Thread(target=self._copy, args=(read_end,), daemon=True)
        self._reader.start()
        self.terminal = os.fdopen(os.dup(self._saved[1]), "w", buffering=1, errors="replace")

    def _copy(self, read_end: int) -> None:
        while chunk := os.read(read_end, 1 << 16):
            # A closed terminal or a full disk must not end a step that still can work.
            with contextlib.suppress(OSError):
                os.write(self._saved[1], chunk)
            with contextlib.suppress(OSError):
                self._log.write(chunk)
        os.close(read_end)

    def log_only(self, line: str) -> None:
        """Write a line to the log but not to the terminal."""
        with contextlib.suppress(OSError):
            self._log.write(line.encode() + b"\n")

    def close(self) -> None:
        """Give the descriptors back and wait until everything has been copied."""
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(self._saved[0], 1)
        os.dup2(self._saved[1], 2)
        # A child that is still alive would hold the pipe open: do not wait for it for ever.
        self._reader.join(timeout=2)
        self._log.close()


_tee: _Tee | None = None


def step_parser(description: str | None) -> argparse.ArgumentParser:
    """An argument parser for a step, with the step's docstring as help and the option `--log`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--log", type=Path, help="file that receives a copy of all messages")
    return parser


def truth(word: str) -> bool:
    """A truth value of the command line, for an argument's `type`."""
    if word.lower() not in ("true", "false"):
        raise ValueError(word)
    return word.lower() == "true"


def _explain(error: OSError) -> str | None:
    """One line for the operating-system errors that a user can do something about."""
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}the disk is full: free some space and run the same command again"
    if error.errno in (errno.EACCES, errno.EROFS):
        return f"{where}may not be written or read: check the permissions"
    if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST):
        return f"{where}is a file where a folder is wanted, or a folder for a file: move it away"
    return None


def _disk_is_full(error: BaseException) -> bool:
    """Whether a library reports a full disk in words of its own: safetensors, and torch."""
    signs = ("No space left on device", "os error 28", "unexpected pos")
    return any(sign in str(error) for sign in signs)


def _leave(number: int, frame: object) -> None:
    """Unwind on SIGTERM; another one must not disturb what is cleared up on the way."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + number)


def run_step(main: Callable[[], None]) -> None:
    """Run the `main` of a step's script and leave the process with its exit status.

    Status 0 is success, 1 a failure (one line for what the user can put right, a traceback for a
    bug), another one what a `UserError` asks for, 130 Ctrl-C, 143 SIGTERM.
    """
    global _tee, _terminal
    options, _ = step_parser(None).parse_known_args(
        [argument for argument in sys.argv[1:] if argument not in ("-h", "--help")]
    )
    if options.log:
        try:
            _tee = _Tee(options.log)
        except OSError as error:
            sys.exit(f"error: {_explain(error) or error}")
        _terminal = _tee.terminal
        if rank() == 0 and (gpus := os.environ.get(GPUS)):
            # For the cost in the report.
            _tee.log_only(f"gpus: {gpus}")
    signal.signal(signal.SIGTERM, _leave)
    end_with_snakemake()
    if world_size() > 1:
        # What launched it holds the claim on the GPUs.
        die_with_parent(int(os.environ.pop(LAUNCHER, os.getppid())))
    status = 1
    try:
        main()
        status = 0
    except UserError as error:
        say(f"error: {error}")
        status = error.status
    except KeyboardInterrupt:
        if rank() == 0:
            say("interrupted: run the same command again to go on")
        status = 130
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(bool(error.code))
    except Exception as error:
        line = _explain(error) if isinstance(error, OSError) else None
        if line is None and _disk_is_full(error):
            line = "the disk is full: free some space and run the same command again"
        say(f"error: {line}" if line else traceback.format_exc().rstrip())
    finally:
        if _tee:
            _tee.close()
    # Not sys.exit: threads of torch or of a broken client must not keep a finished step alive.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def say(line: str) -> None:
    """Print one line to the terminal and the log."""
    speaker = f"process {rank()}: " if rank() else ""
    print(speaker + line, file=sys.stderr, flush=True)


def counts(step: str, seconds: float, **numbers: object) -> None:
    """Print the line of counts that ends a step: what it did, and how long it took."""
    if rank():
        return
    parts = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in numbers.items())
    say(f"{step}: {parts} in {seconds:.0f} s")


class Progress:
    """How far a long step is, as a context manager.

    On a terminal a bar with an estimate; elsewhere, and in the log, a line every 30 s.
    """

    def __init__(self, step: str, total: int, unit: str) -> None:
        self._step, self._total, self._unit = step, total, unit
        self._note: Callable[[], str] = str
        self._done, self._started = 0, time.monotonic()
        self._reported, self._noted = self._started, -NOTE_SECONDS
        # When how much was done, at the last reports: what is left is thought to go on like that.
        self._reports = deque([(self._started, 0)], maxlen=RECENT_REPORTS)
        on_terminal = rank() == 0 and _terminal.isatty()
        self._bar = (
            tqdm(total=total, unit=f" {unit}", desc=step, file=_terminal) if on_terminal else None
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, amount: int = 1, note: Callable[[], str] | None = None) -> None:
        """Count `amount` more units as done; 0 shows that the step lives while nothing is done.

        What `note` returns is shown behind the numbers, until another one is given.
        """
        self._done += amount
        self._note = note or self._note
        now = time.monotonic()
        if self._bar is not None:
            if now - self._noted >= NOTE_SECONDS:
                self._noted = now
                self._bar.set_postfix_str(self._note(), refresh=not amount)
            self._bar.update(amount)
        if rank() or now - self._reported < REPORT_SECONDS:
            return
        self._reported = now
        line = self._line(now)
        if self._bar is None:
            say(line)
        elif _tee:
            _tee.log_only(line)

    def _line(self, now: float) -> str:
        began, done = self._reports[0]
        self._reports.append((now, self._done))
        rate, note = (self._done - done) / (now - began), self._note()
        left = (self._total - self._done) / rate / 60 if rate else float("inf")
        return (
            f"{self._step}: {self._done} of {self._total} {self._unit}, {rate:.2f}/s, "
            f"about {left:.1f} min left{', ' + note if note else ''}"
        )
