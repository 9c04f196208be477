"""What every room needs and none owns: files written whole, locks, work in parallel, records in files."""
