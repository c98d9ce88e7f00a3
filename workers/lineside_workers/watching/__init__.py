"""What is seen of a model while it serves: sensors and drift, versions beside each other."""
