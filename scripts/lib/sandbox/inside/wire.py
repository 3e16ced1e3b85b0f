"""Frames of bytes over a stream socket: four bytes of length, then the frame."""

import _socket
import builtins
import sys
from os import read, write
from typing import Any

# A sample may replace the built-in functions of its process; the functions here keep their own.
__builtins__ = dict(vars(builtins))

CHUNK = 1 << 16
# What a sample may send in all, where it is not asked for more.
REPLY_BYTES = 96 << 20


class Ended(Exception):
    """The other side has closed the connection or died."""


class TooLarge(Exception):
    """The other side has sent more than it may."""


class Channel:
    """One side of a connection; `limit` is what the other side may send in all, in bytes."""

    def __init__(self, descriptor: int, limit: int) -> None:
        self.descriptor = descriptor
        self._left = limit
        self._received = bytearray()

    def send(self, *frames: bytes) -> None:
        """Write frames; they arrive in order. Raises Ended."""
        rest = memoryview(b"".join(len(f).to_bytes(4, "big") + f for f in frames))
        try:
            while rest:
                rest = rest[write(self.descriptor, rest) :]
        except OSError:
            raise Ended from None

    def receive(self) -> bytes:
        """The next frame; waits for it. Raises Ended or TooLarge."""
        received = self._received
        while True:
            size = int.from_bytes(received[:4], "big") if len(received) >= 4 else 0
            if size > self._left:
                raise TooLarge
            if len(received) >= 4 + size and len(received) >= 4:
                frame = bytes(received[4 : 4 + size])
                del received[: 4 + size]
                self._left -= size
                return frame
            try:
                chunk = read(self.descriptor, max(CHUNK, min(size, 1 << 22)))
            except OSError:
                raise Ended from None
            if not chunk:
                raise Ended
            received += chunk


def send_message(control: Any, frame: bytes, descriptor: int | None = None) -> None:
    """Send a frame, and with it a descriptor, over a stream socket."""
    data = len(frame).to_bytes(4, "big") + frame
    rights = []
    if descriptor is not None:
        number = descriptor.to_bytes(4, sys.byteorder)
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, number)]
    sent = control.sendmsg([data], rights)
    if sent < len(data):
        control.sendall(memoryview(data)[sent:])


def receive_message(control: Any) -> tuple[bytes, int | None]:
    """The next frame of `send_message` and its descriptor. Raises Ended."""
    head, rights, _, _ = control.recvmsg(4, _socket.CMSG_SPACE(4))
    while len(head) < 4:
        more = control.recv(4 - len(head)) if head else b""
        if not more:
            raise Ended
        head += more
    size, frame = int.from_bytes(head, "big"), bytearray()
    while len(frame) < size:
        chunk = control.recv(min(size - len(frame), 1 << 20))
        if not chunk:
            raise Ended
        frame += chunk
    return bytes(frame), int.from_bytes(rights[0][2][:4], sys.byteorder) if rights else None
