"""A circuit as every engine reads it: what it is, how it is built, what theory says of it."""
