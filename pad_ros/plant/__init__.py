"""What the plant is told: OPC UA and MQTT. Beside the verdict path, never in it (docs/plant.md)."""
