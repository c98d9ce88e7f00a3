"""What dispatch costs beside the forward pass itself, and beside other ways to serve the same model."""
