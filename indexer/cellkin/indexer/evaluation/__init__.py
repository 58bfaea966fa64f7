"""Evaluate labels: splits, baselines, figures and reports."""
