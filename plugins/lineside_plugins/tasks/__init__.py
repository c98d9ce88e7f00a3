"""Built-in tasks. Each folder stands alone, is found by entry point only and uses nothing but the public contract."""
