"""The first process of a jail: gives up its privileges, then forks a child for each sample.

python -c "... from inside import players; players.main()" ARGUMENTS
"""

import _socket
import gc
import json
import os
import sys
from _signal import SIGKILL
from collections.abc import Callable
from typing import Any

from .child import Confines, Keeper, apply_limits, close_standard_streams
from .wire import send_message

PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4


def start(arguments: dict[str, Any], warm_up: Callable[[], None]) -> tuple[Keeper, Any]:
    """Take the limits upon this process and tell the supervisor that it is ready.

    arguments: `control` (the descriptor of the connection to the supervisor), `stop` (that of the
        one from the judges to the players, by which a player is stopped), `uid` (to become, 0
        to stay who we are), `confines` (of `Confines`), `preloaded` (modules that samples want),
        `rules` (descriptors; see `confine`).
    warm_up: called when all privileges are gone, before anything is forked.
    Returns what runs children, and the connection.
    """
    control = _socket.socket(fileno=arguments["control"])
    confines = Confines(**arguments["confines"])
    if confines.alone and os.getpid() != 1:
        # Where there is no namespace after all, killing everybody in it would kill everybody.
        sys.exit("this is no PID namespace of its own")
    for path in confines.scratch:
        # What is there when a sample ends is removed.
        if os.listdir(path) or (confines.alone and os.stat(path).st_dev == os.stat("/").st_dev):
            sys.exit(f"{path} is no empty directory of its own")
    for name in arguments["preloaded"]:
        __import__(name)
    apply_limits(confines)
    if uid := arguments["uid"]:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    # A change of user forgets the first. The second closes /proc/PID of this process and of its
    # forks, and ptrace, to samples, which have the same user.
    prctl(PR_SET_PDEATHSIG, SIGKILL)
    prctl(PR_SET_DUMPABLE, 0)
    close_standard_streams()
    warm_up()
    sys.modules["random"].seed(0)
    sys.argv[:] = [""]
    confine = None
    if not confines.alone:
        # Costs memory that the forks of a proper jail need not copy.
        from .confine import become_reaper, confinement

        become_reaper()
        confine = confinement(arguments["rules"])
    gc.collect()
    gc.freeze()
    facts = {"prefix": sys.base_prefix, "library": json.__file__, "uid": os.getuid()}
    send_message(control, json.dumps(facts).encode())
    return Keeper(confines, control.fileno(), arguments["stop"], confine), control


def prctl(option: int, value: int) -> None:
    """Call prctl(2). Raises OSError."""
    import _ctypes

    function = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")
    if _ctypes.call_function(function, (option, value, 0, 0, 0)) != 0:
        raise OSError(f"prctl({option}, {value}) failed")
