"""CPU that a client spends on a value change: Lineside beside asyncua, node-opcua and the transport alone."""
