"""Celery workers that host task plugins and their models on CPU or GPU, the model store, and training."""
