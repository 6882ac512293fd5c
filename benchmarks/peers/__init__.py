"""Other systems on the feed that ours gets, side by side: `make bench-peers`.

Each stands in a virtual environment of its own, with pinned requirements, and is driven by one
script of `drivers/`, which checks that every event was processed. `make performance` makes
the page of what they measured.
"""
