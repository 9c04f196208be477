"""Questions of the cohort explorer: which cells, how features are distributed, what separates groups."""
