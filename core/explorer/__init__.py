"""Questions of the cohort explorer: what is looked at, how it is distributed, what tells groups apart; no user interface."""
