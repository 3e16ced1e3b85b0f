# In:  the labels, and what the filter dropped.
# Out: the training rows that passed; every rejection, with its verdict; the task's funnel.
#      Or, for the arms of a study that do without, the rows of all replies that could be parsed.


rule verify_samples:
    input:
        labeled="<results>/{task}_labeled.jsonl",
        dropped="<results>/{task}/dropped.jsonl",
        task=ancient(task_file),
        script="scripts/verify_samples.py",
        library=VERIFICATION_LIBRARY,
        kind=task_library,
    output:
        verified=ensure("<results>/{task}_verified.jsonl", non_empty=True),
        rejected="<results>/{task}/rejected.jsonl",
        funnel="<results>/{task}/funnel.json",
    log:
        "<logs>/{task}/verify_samples.log",
    benchmark:
        "<benchmarks>/{task}/verify_samples.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 8
    resources:
        mem_mb=verifying_mb,
        runtime=verifying_minutes,
    params:
        module=as_py_module(),
        sections=task_sections("instruction", "judge"),
        sampling=sampling_record,
        label_sampling=label_parameters,
        method=setting("verification/method"),
        support=setting("verification/support"),
        majority=setting("verification/majority"),
        rows=setting("verification/rows_per_instruction"),
        timeout=setting("verification/timeout"),
        memory_mb=setting("verification/memory_mb"),
        level=setting("verification/sandbox/level"),
        risk=accepted_risk,
    shell:
        """
        python -m {params.module} --task {input.task} --labeled {input.labeled} \
            --dropped {input.dropped} --method {params.method} --support {params.support} \
            --majority {params.majority} --rows-per-instruction {params.rows} \
            --sampling {params.sampling:q} --label-sampling {params.label_sampling:q} \
            --timeout {params.timeout} --memory-mb {params.memory_mb} --workers {threads} \
            --sandbox-level {params.level} {params.risk} \
            --verified {output.verified} --rejected {output.rejected} \
            --funnel {output.funnel} --log {log}
        """


use rule verify_samples as keep_unverified with:
    output:
        verified=ensure("<results>/{task}_unverified.jsonl", non_empty=True),
        rejected="<results>/{task}/unverified/rejected.jsonl",
        funnel="<results>/{task}/unverified/funnel.json",
    log:
        "<logs>/{task}/keep_unverified.log",
    benchmark:
        "<benchmarks>/{task}/keep_unverified.jsonl"
    params:
        method="none",
