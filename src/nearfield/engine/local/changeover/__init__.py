"""From the vectors of one encoder to those of another: kept apart while they are made, and switched in one step."""
