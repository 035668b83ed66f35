"""The language world: skills with exact answers, instructions about their form, and plain text."""
