"""Figures as SVG, of the report to stand inside a page. Each is told in words too, and needs no colour to be read."""
