"""Set-point advice: the tool offset that brings the next parts of a mill back to their nominal dimension."""
