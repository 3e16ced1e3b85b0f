# In:  the raw texts of all shards, and the seeds.
# Out: the instructions that are well-formed and new; every drop, with its reason.


rule filter_instructions:
    input:
        generations=gather.shards("<results>/{{task}}/generations/{scatteritem}.jsonl"),
        seeds=task_seeds,
        task=ancient(task_file),
        script="scripts/filter_instructions.py",
        library=FILTER_LIBRARY,
    output:
        instructions=ensure("<results>/{task}_instructions.jsonl", non_empty=True),
        dropped="<results>/{task}/dropped.jsonl",
    log:
        "<logs>/{task}/filter_instructions.log",
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        mem="16GB",
        runtime="2h",
    params:
        module=as_py_module(),
        sections=task_sections("instruction", "filter"),
        encoder=lookup("filter/encoder", within=config),
        threshold=lookup("filter/threshold", within=config),
    shell:
        """
        python -m {params.module} --task {input.task} --generations {input.generations} \
            --encoder {params.encoder:q} --threshold {params.threshold} \
            --instructions {output.instructions} --dropped {output.dropped} --log {log}
        """
