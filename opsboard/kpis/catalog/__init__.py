"""One file per KPI."""
