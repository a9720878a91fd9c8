"""Expressions that several dashboards use."""

from ops.panels import CHOSEN

#: What Grafana chooses to be at least four scrapes.
SPAN = "$__rate_interval"
QUANTILES = ((0.5, "half"), (0.95, "95 %"), (0.99, "99 %"))


def total(metric: str, by: str = "", matching: str = "") -> str:
    """Return the sum of a gauge over the accounts that are chosen."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} ({metric}{{{_chosen(matching)}}})"


def highest(metric: str, by: str, matching: str = "") -> str:
    """Return the greatest value of a gauge of the accounts that are chosen."""
    return f"max by ({by}) ({metric}{{{_chosen(matching)}}})"


def rise(metric: str, by: str = "") -> str:
    """Return by how much a counter rose within a dashboard's interval."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (increase({metric}{{{CHOSEN}}}[{SPAN}]))"


def rate(metric: str, by: str = "", matching: str = "") -> str:
    """Return how fast a counter rises, a second."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({metric}{{{_chosen(matching)}}}[{SPAN}]))"


def shares(metric: str, chosen: str = CHOSEN) -> list[tuple[str, str]]:
    """Return the median and two high quantiles of a histogram, with their legends."""
    buckets = f"sum by (le) (rate({metric}_bucket{{{chosen}}}[{SPAN}]))"
    return [(f"histogram_quantile({share:g}, {buckets})", legend) for share, legend in QUANTILES]


def mean(metric: str) -> str:
    """Return a histogram's mean."""
    return f"{rate(f'{metric}_sum')} / {rate(f'{metric}_count')}"


def _chosen(matching: str) -> str:
    return f"{CHOSEN}, {matching}" if matching else CHOSEN
