"""Asking an OpenAI-compatible endpoint for completions, and never asking for the same one twice.

`request` says what a request is and what identifies it, `journal` keeps every reply, `client`
sends what the journal lacks, `local_server` runs an endpoint on this machine.
"""
