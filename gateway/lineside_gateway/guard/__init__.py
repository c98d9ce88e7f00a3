"""What a recommendation may do to the plant, and how it is done."""
