"""Room 5, what we tell the user: from the plan and what is observed to conditions and a summary. Pure."""
