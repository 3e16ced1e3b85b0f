# In:  the file of a task's own seeds, or a dataset of which the task names rows.
# Out: the seeds.


rule select_seeds:
    input:
        seeds=seed_files,
        task=ancient(task_file),
        script="scripts/select_seeds.py",
        library=DATASET_LIBRARY,
    output:
        seeds=ensure("<results>/{task}/seeds.jsonl", non_empty=True),
    log:
        "<logs>/{task}/select_seeds.log",
    localrule: stays_here()
    conda:
        "../envs/cpu.yaml"
    params:
        module=as_py_module(),
        source=seeds_of,
        seed_set=setting("seeds"),
        draw=seed_rows_option,
        local=local_option_of(seed_dataset),
    shell:
        """
        python -m {params.module} --task {input.task} --set {params.seed_set} {params.draw} \
            {params.local} --output {output.seeds} --log {log}
        """
