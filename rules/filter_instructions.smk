# In:  the raw texts of all shards, the seeds, and the problems of all tasks' benchmarks.
# Out: the instructions that are well-formed, new and clean; every drop, with its reason; what
#      overlaps the benchmarks, and what comes near to them.


rule filter_instructions:
    input:
        generations=generation_shards,
        seeds="<results>/{task}/seeds.jsonl",
        problems=collect("<results>/benchmarks/{name}.jsonl", name=benchmarked_tasks()),
        records=collect("<results>/benchmarks/{name}.json", name=benchmarked_tasks()),
        task=ancient(task_file),
        script="scripts/filter_instructions.py",
        library=FILTER_LIBRARY,
        kind=task_library,
    output:
        instructions=ensure("<results>/{task}_instructions.jsonl", non_empty=True),
        dropped="<results>/{task}/dropped.jsonl",
        decontamination="<results>/{task}/decontamination.json",
    log:
        "<logs>/{task}/filter_instructions.log",
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        mem_mb=filtering_mb,
        runtime=filtering_minutes,
    params:
        module=as_py_module(),
        sections=task_sections("instruction", "filter"),
        encoder=setting("filter/encoder"),
        threshold=setting("filter/threshold"),
        ngram=lookup("decontamination/ngram", within=config),
        seed=setting("seed"),
    shell:
        """
        python -m {params.module} --task {input.task} --generations {input.generations} \
            --seeds {input.seeds} --problems {input.problems} --records {input.records} \
            --encoder {params.encoder:q} --threshold {params.threshold} --ngram {params.ngram} \
            --seed {params.seed} --instructions {output.instructions} \
            --dropped {output.dropped} --decontamination {output.decontamination} --log {log}
        """
