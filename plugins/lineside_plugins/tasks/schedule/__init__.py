"""The schedule task: the sequence of open job orders on parallel mills with sequence-dependent setups."""
