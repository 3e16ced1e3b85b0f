"""One jail, from its start to its end."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from typing import Any

from scripts.lib.sandbox.bubblewrap import last_line
from scripts.lib.sandbox.inside.wire import Ended, receive_message, send_message
from scripts.lib.sandbox.levels import Launch
from scripts.lib.sandbox.model import SandboxUnavailable

START_SECONDS = 30.0
# What poll(2) takes, in milliseconds, is an int.
LONGEST_POLL = 2_000_000.0
# A process that the kernel does not end in this time is left to it.
DEATH_SECONDS = 5.0


class JailLost(Exception):
    """The jail died, or did not answer in time (`late`)."""

    def __init__(self, late: bool) -> None:
        super().__init__("late" if late else "died")
        self.late = late


class Jail:
    """A running jail. Whoever starts it must live as long: it dies with the thread that did.

    facts: what its first process said of itself.
    """

    def __init__(self, launch: Launch, stop: int) -> None:
        """Start a jail. stop: the descriptor by which judges have a player stopped."""
        self._launch = launch
        self._control, theirs = socket.socketpair()
        self._first_process = -1
        self._information, information = os.pipe()
        number = theirs.fileno()
        informed = [information] if "{information}" in launch.command else []
        command = [
            part.replace("{control}", str(number))
            .replace("{information}", str(information))
            .replace("{stop}", str(stop))
            for part in launch.command
        ]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=launch.environment,
                cwd=launch.environment["HOME"] if launch.scratch else "/",
                pass_fds=[number, stop, *informed, *launch.descriptors],
                # Ctrl-C is for us: a sample that is running ends by itself, with its true verdict.
                start_new_session=True,
            )
        except OSError as error:
            self._control.close()
            launch.remove()
            raise SandboxUnavailable(f"{command[0]} does not run ({error})") from None
        finally:
            theirs.close()
            os.close(information)
            launch.close()
        self._poll = select.poll()
        self._poll.register(self._control, select.POLLIN)
        self.facts: dict[str, Any] = {}
        self._last_words = ""

    def wait_until_ready(self) -> None:
        """Wait for the first process's word. Raises SandboxUnavailable."""
        try:
            self.facts = self.receive(time.monotonic() + START_SECONDS)
        except JailLost as lost:
            message, remedy = self.close(), self._launch.remedy
            if lost.late:
                message = f"nothing was heard of it for {START_SECONDS:g} s"
            raise SandboxUnavailable(f"the jail does not start ({message}); {remedy}") from None
        self._first_process = _opened(os.read(self._information, 4096))

    def send(self, message: bytes, descriptor: int | None = None) -> None:
        """Send a message and a descriptor. Raises JailLost."""
        try:
            send_message(self._control, message, descriptor)
        except OSError:
            raise JailLost(late=False) from None

    def receive(self, deadline: float) -> Any:
        """The next message, decoded. Raises JailLost."""
        left = min(max(0.0, deadline - time.monotonic()), LONGEST_POLL)
        if not self._poll.poll(left * 1000):
            raise JailLost(late=True)
        try:
            return json.loads(receive_message(self._control)[0].decode())
        except (Ended, OSError):
            raise JailLost(late=False) from None

    def kill(self) -> None:
        """Kill everything in the jail, which stays to be closed."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._first_process >= 0:
            # bubblewrap, who has dropped its privileges, may not take it down when it is another
            # user's; the kernel ends the namespace with its first process.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first_process, signal.SIGKILL)

    def close(self) -> str:
        """End the jail, whatever runs in it; the last line of what it had to say."""
        self._control.close()
        assert self._process.stderr
        # Once only: when the process is reaped, its number may be that of somebody else.
        if not self._process.stderr.closed:
            self.kill()
            _, messages = self._process.communicate()
            self._last_words = last_line(messages.decode(errors="replace"))
            if self._first_process >= 0:
                death = select.poll()
                death.register(self._first_process, select.POLLIN)
                death.poll(DEATH_SECONDS * 1000)
                os.close(self._first_process)
            os.close(self._information)
            self._first_process = -1
            self._launch.remove()
        return self._last_words


def _opened(information: bytes) -> int:
    """A descriptor of the jail's first process, by what bubblewrap says; -1 where there is none."""
    try:
        return os.pidfd_open(json.loads(information)["child-pid"])
    except (ValueError, KeyError, OSError):
        # No bubblewrap, or Linux before 5.3.
        return -1
