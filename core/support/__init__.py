"""What every room needs and none owns: files written whole, locks between processes, work in parallel."""
