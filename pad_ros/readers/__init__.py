"""Readers of reference views, one module per kind of source; `views.read_views` chooses."""
