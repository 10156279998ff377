"""Records as tables, pictures and a report in Markdown. pandas and matplotlib are loaded only where used."""
