# In:  the rows of several sources of instructions, made with several random seeds.
# Out: the students of the arms, each trained on as many rows, and what their evaluations say.
#
# A run of a study is a task by another name: mbpp/study/{cell}/ada, .../arms/ada_verified. All other
# rules make it as they make `mbpp`; scripts/lib/study.py says what differs in its config.


rule take_seeds:
    input:
        seeds="<results>/{task}/seeds.jsonl",
        task=ancient(task_file),
        script="scripts/take_seeds.py",
    output:
        instructions="<results>/{task}_instructions.jsonl",
        dropped="<results>/{task}/dropped.jsonl",
    log:
        "<logs>/{task}/take_seeds.log",
    wildcard_constraints:
        task=SEEDS_ALONE,
    localrule: True
    conda:
        "../envs/cpu.yaml"
    params:
        module=as_py_module(),
    shell:
        """
        python -m {params.module} --task {input.task} --seeds {input.seeds} \
            --instructions {output.instructions} --dropped {output.dropped} --log {log}
        """


ruleorder: take_seeds > filter_instructions


rule draw_rows:
    input:
        rows=rows_of_arm,
        others=rows_of_other_arms,
        script="scripts/draw_rows.py",
        library="scripts/lib/study.py",
    output:
        ensure("<results>/{task}_rows.jsonl", non_empty=True),
    log:
        "<logs>/{task}/draw_rows.log",
    wildcard_constraints:
        task=ARM,
    localrule: True
    conda:
        "../envs/cpu.yaml"
    params:
        module=as_py_module(),
        arm=arm_of_run,
        arms=other_arms,
        most=setting("study/rows"),
        fewest=setting("study/min_rows"),
        seed=setting("seed"),
    shell:
        """
        python -m {params.module} --arm {params.arm} --rows {input.rows} \
            --arms {params.arms} --others {input.others} --most {params.most} \
            --fewest {params.fewest} --seed {params.seed} --output {output} --log {log}
        """


use rule measure_instructions as compare_instructions with:
    input:
        instructions=of_writing_sources("{source}_instructions.jsonl"),
        dropped=of_writing_sources("{source}/dropped.jsonl"),
        seeds=seeds_of_first_cell,
        local=local_copy_of(target_dataset),
        task=ancient(task_file),
        script="scripts/measure_instructions.py",
        library=QUALITY_LIBRARY,
        kind=task_library,
    output:
        quality="<results>/{task}/study/quality.json",
        folder=report(
            directory("<results>/{task}/study/quality"),
            patterns=["{plot}.{form}"],
            caption="../report/quality.rst",
            category="5. Study",
            labels={"task": "{task}", "what": "sources, {plot}.{form}"},
        ),
    log:
        "<logs>/{task}/compare_instructions.log",
    params:
        names=[ADA, SELF_INSTRUCT],


rule summarize_study:
    input:
        reference=model_of_study("reference", ".json"),
        base=model_of_study("base", ".json"),
        base_scores=model_of_study("base", ".jsonl"),
        students=of_arms("arms/{arm}/evaluation/{benchmark}/student.json"),
        student_scores=of_arms("arms/{arm}/evaluation/{benchmark}/student.jsonl"),
        rows=of_arms("arms/{arm}_rows.jsonl"),
        misfits=of_arms("arms/{arm}/student_misfits.jsonl"),
        funnels=funnels_of_study,
        quality="<results>/{task}/study/quality.json",
        script="scripts/summarize_study.py",
        library=[*EVALUATION_LIBRARY, *STUDY_LIBRARY],
    output:
        "<results>/{task}_study.json",
    log:
        "<logs>/{task}/summarize_study.log",
    localrule: True
    conda:
        "../envs/cpu.yaml"
    params:
        module=as_py_module(),
        seed=lookup("seed", within=config),
    shell:
        """
        python -m {params.module} --task {wildcards.task} --reference {input.reference} \
            --base {input.base} --base-rows {input.base_scores} \
            --students {input.students} --student-rows {input.student_scores} \
            --rows {input.rows} --misfits {input.misfits} \
            --funnels {input.funnels} --quality {input.quality} \
            --seed {params.seed} --output {output} --log {log}
        """
