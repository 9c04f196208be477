"""Questions of the cohort explorer.

What is looked at, how it is distributed, what tells groups apart; no user interface.
"""
