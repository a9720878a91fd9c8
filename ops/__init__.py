"""What watches a queue: the page of its metrics, dashboards, alert rules, and their proof."""
