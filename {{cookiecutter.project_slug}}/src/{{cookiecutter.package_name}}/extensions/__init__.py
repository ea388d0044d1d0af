"""Yours: what a run has beside what the project brings, a file for each framework."""
