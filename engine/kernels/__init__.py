"""The transitions: compiled functions over one block of int64 words and arrays of event rows.

Everything that changes the state of a run lives here. Read in this order:

- `layout` names the words, `desks` says which account's stand in their place; `arithmetic` and
  `fees` compute with them;
- `book`, `orders` (with `queue_models` and `client_ids`), `positions`, `flights`, `groups`, `risk`
  and `reward` each fold events into their own words, and `journal` hands every row to all of them;
- `refusals` says what the venue would refuse, `fills` what becomes of an order, `walks` and
  `matching` whom incoming and resting orders trade with, `commands` how a request is sent and
  carried out, after a delay of `delays`;
- `loop` is the bus, which puts all of it in order; `verbs` and `programs` let a user's compiled
  code into it.

`check` and `queues` work on a tape once, before any run.
"""
