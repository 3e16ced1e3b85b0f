# In:  what a task has so far: its rows, their funnel and the quality of its instructions at least;
#      scores and study where they are there.
# Out: plots, tables and pages that `snakemake --report` puts into one file.


report: "../report/workflow.rst"


rule plot_funnel:
    input:
        funnel="<results>/{task}/funnel.json",
        script="scripts/plot_funnel.py",
        library=PLOT_LIBRARY,
    output:
        plot=report(
            "<results>/{task}/report/funnel.svg",
            caption="../report/funnel.rst",
            category="2. Funnel",
            labels={"task": "{task}", "what": "funnel, plot"},
        ),
        data=report(
            "<results>/{task}/report/funnel.csv",
            caption="../report/data.rst",
            category="2. Funnel",
            labels={"task": "{task}", "what": "funnel, data"},
        ),
    log:
        "<logs>/{task}/plot_funnel.log",
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing_time(30),
    params:
        module=as_py_module(),
    shell:
        """
        python -m {params.module} --funnel {input.funnel} --output {output.plot} --log {log}
        """


rule plot_scores:
    input:
        scores="<results>/{task}_eval.json",
        script="scripts/plot_scores.py",
        library=PLOT_LIBRARY,
    output:
        plot=report(
            "<results>/{task}/report/scores.svg",
            caption="../report/scores.rst",
            category="4. Scores",
            labels={"task": "{task}", "what": "scores, plot"},
        ),
        data=report(
            "<results>/{task}/report/scores.csv",
            caption="../report/data.rst",
            category="4. Scores",
            labels={"task": "{task}", "what": "scores, data"},
        ),
    log:
        "<logs>/{task}/plot_scores.log",
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing_time(30),
    params:
        module=as_py_module(),
    shell:
        """
        python -m {params.module} --scores {input.scores} --output {output.plot} --log {log}
        """


rule plot_study:
    input:
        study="<results>/{task}_study.json",
        script="scripts/plot_study.py",
        library=PLOT_LIBRARY,
    output:
        plot=report(
            "<results>/{task}/report/study.svg",
            caption="../report/study.rst",
            category="5. Study",
            labels={"task": "{task}", "what": "arms and sweeps, plot"},
        ),
        data=report(
            "<results>/{task}/report/study.csv",
            caption="../report/data.rst",
            category="5. Study",
            labels={"task": "{task}", "what": "arms and sweeps, data"},
        ),
    log:
        "<logs>/{task}/plot_study.log",
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing_time(30),
    params:
        module=as_py_module(),
    shell:
        """
        python -m {params.module} --study {input.study} --output {output.plot} --log {log}
        """


rule list_examples:
    input:
        verified="<results>/{task}_verified.jsonl",
        labeled="<results>/{task}_labeled.jsonl",
        dropped="<results>/{task}/dropped.jsonl",
        rejected="<results>/{task}/rejected.jsonl",
        script="scripts/list_examples.py",
        library=REPORT_LIBRARY,
    output:
        examples="<results>/{task}/report/examples.json",
        page=report(
            "<results>/{task}/report/examples.html",
            caption="../report/examples.rst",
            category="6. Examples",
            labels={"task": "{task}", "what": "examples, kept and lost"},
        ),
    log:
        "<logs>/{task}/list_examples.log",
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing_time(30),
    params:
        module=as_py_module(),
        examples=10,
    shell:
        """
        python -m {params.module} --task-name {wildcards.task} --verified {input.verified} \
            --labeled {input.labeled} --dropped {input.dropped} --rejected {input.rejected} \
            --count {params.examples} --examples {output.examples} --page {output.page} \
            --log {log}
        """


# It reads the benchmark files, the logs and the journal, which Snakemake does not know as inputs:
# `make report` sums up anew each time.
rule sum_up_cost:
    input:
        funnel="<results>/{task}/funnel.json",
        later=there("results/{task}_eval.json", "results/{task}_study.json"),
        script="scripts/sum_up_cost.py",
        library=REPORT_LIBRARY,
    output:
        cost="<results>/{task}/report/cost.json",
        table=report(
            "<results>/{task}/report/cost.csv",
            caption="../report/cost.rst",
            category="7. Cost",
            labels={"task": "{task}", "what": "time of each step, data"},
        ),
    log:
        "<logs>/{task}/sum_up_cost.log",
    # The journal lies where it was written.
    localrule: True
    conda:
        "../envs/cpu.yaml"
    params:
        module=as_py_module(),
        benchmarks="benchmarks/{task}",
        logs="logs/{task}",
        generator_gpus=gpus_of_role("generator"),
        student_gpus=gpus_of_role("student"),
        sampling_gpus=setting("sampling/processes"),
        label_gpus=int(labels_locally()),
    shell:
        """
        python -m {params.module} --task-name {wildcards.task} --benchmarks {params.benchmarks} \
            --logs {params.logs} --gpus train_generator={params.generator_gpus} \
            train_student={params.student_gpus} generate_instructions={params.sampling_gpus} \
            label_instructions={params.label_gpus} respond_to_problems={params.sampling_gpus} \
            run_lm_eval=1 \
            --journal .cache/completions --table {output.table} --output {output.cost} --log {log}
        """


rule write_overview:
    input:
        funnel="<results>/{task}/funnel.json",
        funnel_plot="<results>/{task}/report/funnel.svg",
        examples="<results>/{task}/report/examples.json",
        examples_page="<results>/{task}/report/examples.html",
        cost="<results>/{task}/report/cost.json",
        scores=there("results/{task}_eval.json"),
        scores_plot=made_of(
            "results/{task}_eval.json", "results/{task}/report/scores.svg"
        ),
        study=there("results/{task}_study.json"),
        study_plot=made_of(
            "results/{task}_study.json", "results/{task}/report/study.svg"
        ),
        study_plots=there("results/{task}/study/quality"),
        quality="<results>/{task}/quality.json",
        quality_plots="<results>/{task}/quality",
        script="scripts/write_overview.py",
        library=REPORT_LIBRARY,
    output:
        report(
            "<results>/{task}/report/overview.html",
            caption="../report/overview.rst",
            category="1. Overview",
            labels={"task": "{task}", "what": "all on one page"},
        ),
    log:
        "<logs>/{task}/write_overview.log",
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing_time(30),
    params:
        module=as_py_module(),
    shell:
        """
        python -m {params.module} --task-name {wildcards.task} --funnel {input.funnel} \
            --funnel-plot {input.funnel_plot} --examples {input.examples} --cost {input.cost} \
            --scores {input.scores} --scores-plot {input.scores_plot} --study {input.study} \
            --study-plot {input.study_plot} --study-plots {input.study_plots} \
            --quality {input.quality} --quality-plots {input.quality_plots} \
            --output {output} --log {log}
        """
