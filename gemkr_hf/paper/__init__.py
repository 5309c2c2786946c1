"""``gemkr evaluate``: the tables of the paper, with the systems trained and measured."""

from gemkr_hf.utils.extras import require_extra

require_extra("eval", "The paper's tables need")
