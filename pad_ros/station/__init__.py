"""The station: every verdict kept, looked at and learned from. Beside the verdict path, never in it; without ROS."""
