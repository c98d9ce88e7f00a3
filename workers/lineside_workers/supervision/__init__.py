"""Worker processes kept alive, and how they stand: heartbeat, figures, lanes."""
