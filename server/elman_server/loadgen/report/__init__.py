"""What came of loads: on which machine, as tables, JSON and charts."""
