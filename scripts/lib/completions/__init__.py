"""Asking an OpenAI-compatible endpoint for completions: each once, within every limit.

What is asked for: `request` (and what identifies it), `pricing`, `estimate`. What is kept:
`journal`, of `entries`, and its `compacting`. Who may send, and when: `keys`, `buckets`,
`concurrency`, together `admission`; and the `budget`. What comes back: `answers`. How it is sent:
`transport`; all decisions on the way: `client`, or `batches` for the Batch API, which `batch_api`
calls and of which `batch_files` keeps what is open; `stops` says why a run ends early, `meter` what
is going on. `endpoint` is what a step uses to ask a `question`, with the `settings` of the config
and, for a model of our own, the `local_server`.
"""
