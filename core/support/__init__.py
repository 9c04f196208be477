"""What every room needs besides its own matter: records in files."""
