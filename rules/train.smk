# In:  a base model, and what the role learns from: the seeds, or the verified rows.
# Out: the role's tuned model (an adapter, or full weights), its training curve, and what of its
#      rows does not fit.


rule train:
    input:
        model=fetched_model_of_role,
        rows=rows_of_role,
        task=ancient(task_file),
        script="scripts/train.py",
        library=TRAINING_LIBRARY,
        kind=kind_of_whole_format,
    output:
        model=directory("<results>/{task}/{role}"),
        curve=ensure("<results>/{task}/{role}_curve.jsonl", non_empty=True),
        misfits="<results>/{task}/{role}_misfits.jsonl",
    log:
        "<logs>/{task}/train_{role}.log",
    benchmark:
        "<benchmarks>/{task}/train_{role}.jsonl"
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        gpu=gpus_of_target,
        mem_mb=training_mb,
        runtime=training_minutes,
        # On several machines the job's command runs on the first of them, and scripts.launch starts
        # a task on each; by the GPUs alone Slurm might share them unevenly.
        nodes=machines,
        tasks=machines,
        tasks_per_gpu=no_tasks_by_gpu,
        mpi=started_by_srun,
        slurm_extra=gpus_of_each_machine,
    params:
        module=as_py_module(),
        sections=form_of_role,
        form=form_options,
        launch=launch_options,
        model=model_of_role,
        chat_format=setting("{role}/chat_format"),
        method=setting("{role}/training/method"),
        epochs=setting("{role}/training/epochs"),
        learning_rate=setting("{role}/training/learning_rate"),
        scheduler=setting("{role}/training/scheduler"),
        warmup_ratio=setting("{role}/training/warmup_ratio"),
        weight_decay=setting("{role}/training/weight_decay"),
        batch_size=setting("{role}/training/batch_size"),
        accumulation=untracked_setting("{role}/training/accumulation"),
        max_length=setting("{role}/training/max_length"),
        gradient_checkpointing=untracked_setting(
            "{role}/training/gradient_checkpointing"
        ),
        lora_rank=setting("{role}/training/lora_rank"),
        lora_alpha=setting("{role}/training/lora_alpha"),
        lora_dropout=setting("{role}/training/lora_dropout"),
        checkpoint_minutes=untracked_setting("{role}/training/checkpoint_minutes"),
        report_to=untracked_setting("{role}/training/report_to"),
        seed=setting("seed"),
    shell:
        """
        python -m scripts.launch --gpus {resources.gpu} {params.launch} -- \
            {params.module} --role {wildcards.role} --rows {input.rows} {params.form} \
            --model {params.model:q} --chat-format {params.chat_format} \
            --method {params.method} --epochs {params.epochs} \
            --learning-rate {params.learning_rate} --scheduler {params.scheduler} \
            --warmup-ratio {params.warmup_ratio} --weight-decay {params.weight_decay} \
            --batch-size {params.batch_size} --accumulation {params.accumulation} \
            --max-length {params.max_length} \
            --gradient-checkpointing {params.gradient_checkpointing} \
            --lora-rank {params.lora_rank} --lora-alpha {params.lora_alpha} \
            --lora-dropout {params.lora_dropout} --seed {params.seed} \
            --checkpoint-minutes {params.checkpoint_minutes} --report-to {params.report_to} \
            --output {output.model} --curve {output.curve} --misfits {output.misfits} --log {log}
        """
