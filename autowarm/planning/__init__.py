"""What to run next and what it costs: pure, from what a look at the job told."""
