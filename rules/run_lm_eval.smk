# In:  a task model or the model that it was before, and tasks of EleutherAI's lm-evaluation-harness.
# Out: its scores, to hold beside published ones. No other rule asks for them.


rule run_lm_eval:
    input:
        model=evaluated_model_to_make,
        tasks=lm_eval_task_files,
        script="scripts/run_lm_eval.py",
        library="scripts/lib/harness.py",
    output:
        "<results>/{task}/lm_eval/{model}.json",
    log:
        "<logs>/{task}/run_lm_eval/{model}.log",
    benchmark:
        "<benchmarks>/{task}/run_lm_eval/{model}.jsonl"
    wildcard_constraints:
        model="base|student",
    conda:
        "../envs/lm_eval.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=harness_mb,
        runtime=growing_time(720),
    params:
        module=as_py_module(),
        model=evaluated_model,
        tasks=setting("lm_eval/tasks"),
        include_path=lm_eval_include_path_option,
        limit=setting("lm_eval/limit"),
        num_fewshot=setting("lm_eval/num_fewshot"),
        chat_template=setting("lm_eval/apply_chat_template"),
        confirmed=setting("lm_eval/confirm_unsafe_code"),
        batch_size=untracked_setting("lm_eval/batch_size"),
        seed=setting("seed"),
    shell:
        """
        python -m scripts.launch --gpus {resources.gpu} -- \
            {params.module} --model {params.model:q} --tasks {params.tasks:q} \
            {params.include_path} --limit {params.limit} --num-fewshot {params.num_fewshot} \
            --apply-chat-template {params.chat_template} --batch-size {params.batch_size} \
            --confirm-unsafe-code {params.confirmed} --seed {params.seed} \
            --output {output} --log {log}
        """
