# Jobs that go wrong in the ways of a cluster: one for good, the others at their first try.


rule all:
    input:
        "out/greedy.txt",
        "out/slow.txt",
        "out/failing.txt",


rule failing:
    output:
        "out/failing.txt",
    log:
        "logs/failing.log",
    shell:
        "echo 'error: the seeds are stale: water them' > {log}; exit 3"


rule greedy:
    output:
        "out/greedy.txt",
    resources:
        mem_mb=lambda wildcards, attempt: 400 * attempt,
    shell:
        "python -c 'import time; held = b\"x\" * (300 << 20); time.sleep(4)'; "
        "echo {resources.mem_mb} > {output}"


rule slow:
    output:
        "out/slow.txt",
    resources:
        runtime=1,
    shell:
        "test -e late || {{ touch late; trap 'echo drained > late; exit 1' TERM; sleep 300 & wait; }}; "
        "date > {output}"
