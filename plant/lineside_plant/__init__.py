"""RefPlant: a simulated plant behind real OPC UA servers. It knows nothing of Lineside."""
