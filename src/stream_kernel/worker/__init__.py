"""The worker process: a blocking loop between its private wire and its nodes. It knows `protocol` and `nodes`, nothing else."""
