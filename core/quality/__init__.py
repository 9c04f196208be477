"""What to know before trusting a cell: flags, the ruler of red cells, cells unlike those the model knows."""
