"""Weight files as streams of tensors: read two checkpoints, compare them, edit, write what came in.

No function here holds a whole checkpoint: a tensor is read, used and let go of before the next one.
"""
