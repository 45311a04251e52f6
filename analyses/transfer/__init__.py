"""What the updates of in-context learning and finetuning do when they are given to the zero-shot run."""
