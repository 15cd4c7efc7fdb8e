"""What training costs, measured: `python -m benchmarks.run`."""
