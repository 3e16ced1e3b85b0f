# In:  the training rows, what the stages before have counted, and what the run was made with.
# Out: a data set to load or to publish: Parquet, the forms of trainers, and a card.


rule export_dataset:
    input:
        verified="<results>/{task}_verified.jsonl",
        funnel="<results>/{task}/funnel.json",
        decontamination="<results>/{task}/decontamination.json",
        seeds="<results>/{task}/seeds.jsonl",
        task=ancient(task_file),
        script="scripts/export_dataset.py",
        library=EXPORT_LIBRARY,
    output:
        dataset=directory("<results>/{task}/dataset"),
    log:
        "<logs>/{task}/export_dataset.log",
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing_time(60),
    params:
        module=as_py_module(),
        sections=task_sections("seeds", "instruction", "label", "judge"),
        seed_set=setting("seeds"),
        settings=settings_record,
    shell:
        """
        python -m {params.module} --task {input.task} --verified {input.verified} \
            --funnel {input.funnel} --decontamination {input.decontamination} \
            --seeds {input.seeds} --seed-set {params.seed_set} --settings {params.settings:q} \
            --output {output.dataset} --log {log}
        """
