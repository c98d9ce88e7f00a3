"""OPC UA in, OPC UA out: tags become windows and batches, recommendations become nodes. Never imports torch."""
