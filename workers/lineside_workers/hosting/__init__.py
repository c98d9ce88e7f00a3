"""Tasks and their models in one process: loaded, run, watched, versions side by side."""
