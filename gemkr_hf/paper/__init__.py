"""``gemkr evaluate``: the tables of the paper, its systems trained and measured in one run."""
