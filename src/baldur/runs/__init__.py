"""Puts the parts together: settings become a plan, a plan becomes a run."""
