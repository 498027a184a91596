"""The station: what lives beside the verdict path and never in it (docs/architecture.md)."""
