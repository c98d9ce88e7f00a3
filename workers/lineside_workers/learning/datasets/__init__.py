"""Public data sets as arrays with their units: one module per set, each states the split that is asked for."""
