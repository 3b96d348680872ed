"""The controllers: each makes a snapshot from the cache, runs the pipeline, and writes a report."""
