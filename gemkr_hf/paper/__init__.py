"""``gemkr evaluate``: the tables of the paper, with the systems trained and measured."""
