"""Training the condition task from what gateways record: windows, split, pretraining, fine-tuning, evaluation."""
