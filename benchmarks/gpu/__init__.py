"""What hosting costs on a GPU: a transformer of 25 M parameters, bare and hosted."""
