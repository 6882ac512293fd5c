"""Read-only views of the built-in projections: what strategies, results and reports look at.

The state is folded by the kernels; a view names its words, reads them, and holds nothing.
"""
