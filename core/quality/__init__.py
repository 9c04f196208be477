"""What to know before trusting a cell: flags, red cells as a ruler, cells unlike those the model knows."""
