"""Where trainings run. An executor starts tasks and hands back what they tell; it decides nothing."""
