"""The jail of players: see `player`. This process never sees code or tests.

The supervisor sends a number of processor seconds with one end of a connection to the judge, and
gets the ending (see `child.Ending`) back. The jail of judges sends a byte for each sample, when it
is done with it: then its player is stopped. The next sample may come before that.
"""

import functools
import json
import os
import sys
from collections import deque

from . import player
from .wire import Ended, receive_message, send_message
from .zygote import start


def main() -> None:
    """Serve the supervisor until it goes."""
    # Everything between two forks is kept short: what it touches is copied, page by page.
    keeper, control = start(json.loads(sys.argv[1]), player.warm_up)
    waiting: deque[tuple[bytes, int | None]] = deque()
    stopped = False

    def heard(descriptor: int) -> bool:
        nonlocal stopped
        if descriptor == keeper.stop:
            if not os.read(keeper.stop, 1):
                raise Ended
            stopped = True
        else:
            waiting.append(receive_message(control))
        return stopped

    try:
        while True:
            seconds, descriptor = waiting.popleft() if waiting else receive_message(control)
            assert descriptor is not None
            stopped = False
            body = functools.partial(player.play, descriptor)
            ending = keeper.run(body, float(seconds), [descriptor], heard)
            if not stopped:
                # One that has ended by itself: its judge will notice.
                heard(keeper.stop)
            send_message(control, ending.line())
    except (Ended, OSError):
        os._exit(0)
