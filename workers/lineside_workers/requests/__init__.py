"""Requests from the broker and answers to it: claims, attempts, deliveries, on Celery."""
