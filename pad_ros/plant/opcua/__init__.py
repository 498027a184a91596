"""OPC UA server after the companion specification Machine Vision, OPC 40100-1 (docs/plant.md)."""
