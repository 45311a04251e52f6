"""What a number of before is compared with where it is told no more."""

DROPPED = object()
