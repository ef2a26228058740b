"""Placeholder."""
def estimate_diameter(plane):
    return None
