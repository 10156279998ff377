"""The Optuna side: what is asked, what is told, and the database that holds the truth. Nothing else imports Optuna."""
