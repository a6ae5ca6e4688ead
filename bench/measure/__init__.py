"""Measurements of weightfs: reads, loads and scale. Run through bench/run.sh."""
