# In:  a task's instructions, its seeds, and the set of texts that they ought to resemble.
# Out: statistics of them, with intervals, and the plots with their data.


rule measure_instructions:
    input:
        instructions="<results>/{task}_instructions.jsonl",
        dropped="<results>/{task}/dropped.jsonl",
        seeds="<results>/{task}/seeds.jsonl",
        local=local_copy_of(target_dataset),
        task=ancient(task_file),
        script="scripts/measure_instructions.py",
        library=QUALITY_LIBRARY,
        kind=task_library,
    output:
        quality="<results>/{task}/quality.json",
        folder=report(
            directory("<results>/{task}/quality"),
            patterns=["{plot}.{form}"],
            caption="../report/quality.rst",
            category="3. Instruction quality",
            labels={"task": "{task}", "what": "{plot}.{form}"},
        ),
    log:
        "<logs>/{task}/measure_instructions.log",
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        mem_mb=growing(8000),
        runtime=growing_time(120),
    params:
        module=as_py_module(),
        sections=task_sections("target", "instruction"),
        local=local_option_of(target_dataset),
        names="instructions",
        encoder=setting("filter/encoder"),
        max_texts=setting("quality/max_texts"),
        seed=lookup("seed", within=config),
    shell:
        """
        python -m {params.module} --task {input.task} --names {params.names} \
            --instructions {input.instructions} --dropped {input.dropped} --seeds {input.seeds} \
            {params.local} --encoder {params.encoder:q} --max-texts {params.max_texts} \
            --seed {params.seed} --output {output.quality} --folder {output.folder} --log {log}
        """
