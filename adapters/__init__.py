"""Everything that touches the outside: files, formats, the terminal, generators.

An adapter may import `foldbook.engine` and `foldbook.adapters.sessions`, and no other adapter. The
command line is the place where they meet: it finds importers and generators by entry points.
"""
