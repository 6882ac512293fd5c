"""The transitions: compiled functions over one block of int64 words and arrays of event rows.

Everything that changes the state of a run lives here. `layout` names the words; `book`, `orders`,
`positions` and `reward` each fold events into their own part; `matching` decides what the venue
would do and publishes it as journal rows; `loop` is the bus, which puts all of it in order.
"""
