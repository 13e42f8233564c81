"""What the entry points share: evaluation, checkpoints, logs, pictures, distribution."""
