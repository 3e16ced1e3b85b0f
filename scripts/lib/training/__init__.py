"""Supervised fine-tuning with the loss on a part of each text only.

The paper fine-tunes on ten samples (section 3.1) and on what is labelled from them, so the work
lies in what is learnt: the tokens of a target, never those of its prompt.
"""

# The modules of this package that foretell and report: no weight depends on them.
DECIDE_NOTHING = ("estimate", "reports", "checkpoints")
