"""What every room needs: files written whole, locks, work in parallel, records in files."""
