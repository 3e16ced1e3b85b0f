"""The jail of players: see `player`. This process never sees code or tests.

The supervisor sends a number of processor seconds with one end of a connection to the judge, then
b"stop" when the judge is done; it gets the ending (see `child.Ending`) back.
"""

import functools
import json
import os
import sys

from . import player
from .wire import Ended, receive_message, send_message
from .zygote import start

STOP = b"stop"


def main() -> None:
    """Serve the supervisor until it goes."""
    # Everything between two forks is kept short: what it touches is copied, page by page.
    keeper, control = start(json.loads(sys.argv[1]), player.warm_up)
    try:
        while True:
            frame, descriptor = receive_message(control)
            if descriptor is None:
                # The stop of a sample that has ended by itself.
                continue
            body = functools.partial(player.play, descriptor)
            ending = keeper.run(body, float(frame), [descriptor])
            send_message(control, ending.line())
    except (Ended, OSError):
        os._exit(0)
