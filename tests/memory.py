"""Whether work leaves memory behind, counted in the allocator's blocks, which no other work of the machine changes."""

import gc
import sys
from collections.abc import Sequence
from itertools import pairwise


def allocated_blocks() -> int:
    """How many blocks of memory are allocated once all garbage is collected."""
    gc.collect()
    return sys.getallocatedblocks()


def least_growth(counts: Sequence[int]) -> int:
    """The growth in the round that grew the least, given the count before the first round and after each. The first
    round warms up. A leak is in every round; what is allocated once (a cache that fills, a table that doubles) is in
    one of them."""
    return min(after - before for before, after in pairwise(counts[1:]))
