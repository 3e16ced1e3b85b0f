"""How many processes a lean Python forks and waits for in a second; prints it.

python -I -S bench/executors/forks.py CORE NUMBER
"""

import os
import sys
import time

if __name__ == "__main__":
    core, number = int(sys.argv[1]), int(sys.argv[2])
    os.sched_setaffinity(0, {core})
    began = time.perf_counter()
    for _ in range(number):
        process = os.fork()
        if process == 0:
            os._exit(0)
        os.waitpid(process, 0)
    print(number / (time.perf_counter() - began))
