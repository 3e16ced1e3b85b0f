"""The jail of players: see `player`. This process never sees code or tests.

The supervisor sends a number of processor seconds with one end of a connection to the judge, then
b"stop" when the judge is done; it gets the ending (see `child.Ending`) back. The next sample may
come before the stop of the one before it.
"""

import functools
import json
import os
import sys
from collections import deque

from . import player
from .wire import Ended, receive_message, send_message
from .zygote import start

STOP = b"stop"


def main() -> None:
    """Serve the supervisor until it goes."""
    # Everything between two forks is kept short: what it touches is copied, page by page.
    keeper, control = start(json.loads(sys.argv[1]), player.warm_up)
    waiting: deque[tuple[bytes, int | None]] = deque()
    stopped = False

    def heard() -> bool:
        nonlocal stopped
        message = receive_message(control)
        if message[0] == STOP:
            stopped = True
        else:
            waiting.append(message)
        return stopped

    try:
        while True:
            seconds, descriptor = waiting.popleft() if waiting else receive_message(control)
            assert descriptor is not None
            stopped = False
            body = functools.partial(player.play, descriptor)
            ending = keeper.run(body, float(seconds), [descriptor], heard)
            # One that ends by itself: the supervisor will know it from the judge.
            while not stopped:
                heard()
            send_message(control, ending.line())
    except (Ended, OSError):
        os._exit(0)
