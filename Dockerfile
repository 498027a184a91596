# A cell on ROS 2 Jazzy, built as docs/tutorial.md, step 9, does it:
#     docker build -t pad_ros .
#     docker run --rm --net=host --ipc=host -v $PWD/models:/models:ro pad_ros \
#       ros2 launch pad_ros conveyor_cell.launch.py model:=/models/bracket_model namespace:=cell_1 image:=/cell_1/camera/image_raw
# --ipc=host: Fast DDS passes images through /dev/shm (config/fastdds.xml), of which a container has 64 MiB by itself.
FROM ros:jazzy-ros-base

RUN apt-get update && apt-get install -y --no-install-recommends \
      build-essential cmake git python3-venv \
      ros-jazzy-cv-bridge ros-jazzy-sensor-msgs-py ros-jazzy-vision-msgs ros-jazzy-tf2-msgs ros-jazzy-tf2-ros \
      ros-jazzy-ament-cmake-pytest ros-jazzy-usb-cam ros-jazzy-v4l2-camera \
    && rm -rf /var/lib/apt/lists/*

SHELL ["/bin/bash", "-c"]
WORKDIR /workspace
COPY . src/pad_ros

# The CPU build of torch is 200 MB; the one that pip takes by default brings 3 GB of CUDA libraries.
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN source /opt/ros/jazzy/setup.bash \
    && make -C src/pad_ros setup \
    && source src/pad_ros/.venv/bin/activate \
    && colcon build --base-paths src --cmake-args -DPython3_EXECUTABLE=$VIRTUAL_ENV/bin/python -DBUILD_TESTING=OFF

ENTRYPOINT ["/workspace/src/pad_ros/docker_entrypoint.sh"]
CMD ["ros2", "launch", "pad_ros", "conveyor_cell.launch.py", "--show-args"]
