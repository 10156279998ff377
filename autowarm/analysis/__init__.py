"""What a study's records say: the best schedules, their cost, and what to change next. Pure functions."""
