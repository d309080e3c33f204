"""What the benchmarks are made of: contestants, a server that costs nothing, passes, a table."""
