"""What gateways have recorded: read from Parquet, looked over, joined with labels."""
