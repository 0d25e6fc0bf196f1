"""Fund loads: attempts to load money onto accounts come in as JSON lines, and each gets a decision, in order.

`baseline.toml` and `sanctions.toml` are the two profiles; `nodes` has the steps, `generator` makes input of any size.
"""
