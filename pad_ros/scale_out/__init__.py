"""Many parts: one task for each, on this machine or on Ray, from and to any store that fsspec knows."""
