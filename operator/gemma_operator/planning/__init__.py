"""Room 3, the decisions: from a spec and the facts to a Plan, or a Refusal that says why and what would
fit."""
