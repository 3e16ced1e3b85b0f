# In:  the labels.
# Out: the training rows whose tests passed in the sandbox; every rejection, with its verdict.


rule verify_samples:
    input:
        labeled="<results>/{task}_labeled.jsonl",
        task=ancient(task_file),
        script="scripts/verify_samples.py",
        library=VERIFICATION_LIBRARY,
    output:
        verified=ensure("<results>/{task}_verified.jsonl", non_empty=True),
        rejected="<results>/{task}/rejected.jsonl",
    log:
        "<logs>/{task}/verify_samples.log",
    benchmark:
        "<benchmarks>/{task}/verify_samples.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 8
    resources:
        mem="16GB",
        runtime="4h",
    params:
        module=as_py_module(),
        sections=task_sections("instruction"),
        sampling=sampling_record,
        label_sampling=label_record,
        timeout=lookup("verification/timeout", within=config),
        memory_mb=lookup("verification/memory_mb", within=config),
    shell:
        """
        python -m {params.module} --task {input.task} --labeled {input.labeled} \
            --sampling {params.sampling:q} --label-sampling {params.label_sampling:q} \
            --timeout {params.timeout} --memory-mb {params.memory_mb} --workers {threads} \
            --verified {output.verified} --rejected {output.rejected} --log {log}
        """
