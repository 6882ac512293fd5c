"""The slow truth: docs/semantics.md read once more, in plain Python, for the kernels to be held to.

Nothing here may import from `foldbook.engine` more than its vocabulary, units and specs.
"""
