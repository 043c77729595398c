"""Plotly charts as pure functions of what they show."""
