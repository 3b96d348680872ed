"""Benchmarks: figures of this machine in this run, told as ratios to floors and to peers.

Each section is a module with a function from `Options` to `Section`; ``__main__`` lists them.
"""
