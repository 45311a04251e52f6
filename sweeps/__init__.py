"""Many cells of one analysis: planned, computed once however often it is interrupted, and put together."""
