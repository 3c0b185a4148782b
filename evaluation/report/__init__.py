"""Results: files, tables, charts, results page."""
