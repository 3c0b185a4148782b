"""Retrieval metrics: rankings in, numbers out. Independent of photos, stores and networks."""

from .means import group_means, mean_average_precision, mean_over_groups
from .ranking import (
    average_precision,
    found_among,
    precision_at,
    recall_at_1,
    trapezoid_average_precision,
    without,
)
