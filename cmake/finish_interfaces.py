"""Last step of `make setup`: make site-packages/pad_ros hold nothing but the generated messages.

rosidl writes an empty __init__.py and an egg-info beside them. The first would hide the package in
this checkout, the second makes the next `pip install` remove the messages as an older version.
"""

import shutil
import sysconfig
from pathlib import Path

site = Path(sysconfig.get_path("platlib"))
(site / "pad_ros" / "__init__.py").unlink(missing_ok=True)
for folder in site.glob("pad_ros-*.egg-info"):
    shutil.rmtree(folder)
