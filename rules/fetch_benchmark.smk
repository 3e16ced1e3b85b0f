# In:  the benchmark of a task: a local copy, an installed package, or the hub.
# Out: its problems, none where they cannot be had, and a record that says so.


rule fetch_benchmark:
    input:
        local=local_copy_of(benchmark_dataset),
        task=ancient(task_file),
        script="scripts/fetch_benchmark.py",
        library=DATASET_LIBRARY,
    output:
        problems="<results>/benchmarks/{task}.jsonl",
        record="<results>/benchmarks/{task}.json",
    log:
        "<logs>/{task}/fetch_benchmark.log",
    localrule: stays_here()
    conda:
        "../envs/cpu.yaml"
    params:
        module=as_py_module(),
        sections=task_sections("benchmark"),
        local=local_option_of(benchmark_dataset),
        required=lookup("decontamination/required", within=config),
    shell:
        """
        python -m {params.module} --task {input.task} {params.local} \
            --required {params.required} --problems {output.problems} --record {output.record} \
            --log {log}
        """
