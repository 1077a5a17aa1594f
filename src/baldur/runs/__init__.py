"""Assembles the parts: settings become a plan, and a plan becomes a run."""
