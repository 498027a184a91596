#!/bin/bash
# The workspace's environment for whatever the container runs.
set -e
source /opt/ros/jazzy/setup.bash
source /workspace/install/setup.bash
exec "$@"
