"""How much one Redis or Valkey server carries of what gateways and workers send through it."""
