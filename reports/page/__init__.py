"""A study as one page: a single file that opens from disk, with everything that it shows inside it."""
