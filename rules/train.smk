# In:  a base model and a task's seeds.
# Out: the role's tuned model (an adapter, or full weights) and its training curve.


rule train:
    input:
        model=fetched_model_of_role,
        seeds=task_seeds,
        task=ancient(task_file),
        script="scripts/train.py",
        library=TRAINING_LIBRARY,
    output:
        model=directory("<results>/{task}/{role}"),
        curve=ensure("<results>/{task}/{role}_curve.jsonl", non_empty=True),
    log:
        "<logs>/{task}/train_{role}.log",
    benchmark:
        "<benchmarks>/{task}/train_{role}.jsonl"
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        gpu=1,
        mem="32GB",
        runtime="4h",
    params:
        module=as_py_module(),
        sections=task_sections("instruction"),
        model=model_of_role,
        chat_format=lookup("{role}/chat_format", within=config),
        method=lookup("{role}/training/method", within=config),
        epochs=lookup("{role}/training/epochs", within=config),
        learning_rate=lookup("{role}/training/learning_rate", within=config),
        batch_size=lookup("{role}/training/batch_size", within=config),
        warmup_ratio=lookup("{role}/training/warmup_ratio", within=config),
        max_length=lookup("{role}/training/max_length", within=config),
        lora_rank=lookup("{role}/training/lora_rank", within=config),
        lora_alpha=lookup("{role}/training/lora_alpha", within=config),
        lora_dropout=lookup("{role}/training/lora_dropout", within=config),
        seed=lookup("seed", within=config),
    shell:
        """
        python -m {params.module} --role {wildcards.role} --task {input.task} \
            --model {params.model:q} --chat-format {params.chat_format} \
            --method {params.method} --epochs {params.epochs} \
            --learning-rate {params.learning_rate} --batch-size {params.batch_size} \
            --warmup-ratio {params.warmup_ratio} --max-length {params.max_length} \
            --lora-rank {params.lora_rank} --lora-alpha {params.lora_alpha} \
            --lora-dropout {params.lora_dropout} --seed {params.seed} \
            --output {output.model} --curve {output.curve} --log {log}
        """
