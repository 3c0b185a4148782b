"""Results: files, tables, charts, the page of results."""
