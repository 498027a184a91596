# make setup | demo | test | test-fast | test-gpu | lint | fuzz | documents | clean
#
# Everything lands in .venv. Without ROS 2 on the machine its PyPI wheels are used; where ROS_DISTRO is
# set (a sourced ROS 2), that one is. Stamp files keep a second `make setup` quick.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
INTERFACES_BUILD := $(VENV)/interfaces_build

# The wheels' start-up hook marks the environment it has prepared; children with another .venv must not inherit that.
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE

ifdef ROS_DISTRO
  # PYTHONPATH and CMAKE_PREFIX_PATH come from ROS's setup.bash; rosidl's Python dependencies from the system.
  VENV_OPTIONS := --system-site-packages
  ROS_REQUIREMENTS :=
  CMAKE_OPTIONS :=
  CONSTRAINTS ?= constraints-jazzy.txt
else
  VENV_OPTIONS :=
  ROS_REQUIREMENTS := requirements-ros-wheels.txt
  CMAKE_OPTIONS := -DCMAKE_PROJECT_INCLUDE=$(CURDIR)/cmake/drop_foreign_includes.cmake
  CONSTRAINTS ?= constraints.txt
  export AMENT_PREFIX_PATH := $(CURDIR)/$(VENV)
  export CMAKE_PREFIX_PATH := $(CURDIR)/$(VENV)
endif

REQUIREMENTS := requirements-dev.txt $(ROS_REQUIREMENTS)

.PHONY: setup demo test test-fast test-gpu lint fuzz documents clean

setup: $(STAMPS)/interfaces $(STAMPS)/kernels

demo: setup
	$(BIN)/pad demo

# The nodes are tested in a process of their own. With the ROS wheels a service is now and then never seen by a client
# (about once in 500 tests): what failed among the nodes is run once more in a fresh process, and must pass there.
test: setup lint
	$(BIN)/python -m pytest --ignore test/nodes
	$(BIN)/python -m pytest test/nodes || \
	  { echo "make: tests of nodes failed; those that failed once more in a fresh process"; \
	    $(BIN)/python -m pytest test/nodes --last-failed --last-failed-no-failures none; }

test-fast: setup
	$(BIN)/python -m pytest -m "not slow"

test-gpu: setup
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python benchmarks/gpu.py $(if $(DATASET),--dataset $(DATASET))

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive pad_ros

# Looks for inputs that break a parser; test/fuzz/fuzz.py says more. make fuzz SECONDS=600 PARSERS="ply image"
SECONDS := 60
fuzz: setup
	$(BIN)/python test/fuzz/fuzz.py --seconds $(SECONDS) $(PARSERS)

# The generated ones: benchmarks/RESULTS.md and docs/licences.md.
documents: setup
	$(BIN)/python benchmarks/report_results.py
	$(BIN)/python docs/write_licences.py
	$(BIN)/python -m pad_ros.nodes.support.parameter_tables docs/ros.md

clean:
	rm -rf $(VENV) build install log demo_out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .fuzz
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "make: $(PYTHON) is not Python >= 3.10; name one with make PYTHON=..." >&2; exit 3; }
	@for tool in cmake c++; do command -v $$tool > /dev/null || \
	  { echo "make: $$tool is missing; on Debian or Ubuntu: apt install build-essential cmake" >&2; exit 3; }; done
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV_OPTIONS) $(VENV) || \
	  { echo "make: no virtual environment; on Debian or Ubuntu: apt install python3-venv" >&2; exit 3; }
	@mkdir -p $(STAMPS) && touch $(VENV)/COLCON_IGNORE $@

# --no-compile: most of what is in torch and its like is never imported, so byte-compiling it all only costs time.
# pip first, messages second. The editable install puts this folder on sys.path by a plain .pth file
# (compat): the messages lie in site-packages/pad_ros, and pad_ros/__init__.py joins the two.
$(STAMPS)/packages: $(STAMPS)/venv setup.py setup.cfg pyproject.toml constraints-common.txt $(CONSTRAINTS) $(REQUIREMENTS)
	$(BIN)/python -m pip install --quiet --no-compile --constraint $(CONSTRAINTS) 'setuptools>=77,<80'
	$(BIN)/python -m pip install --quiet --no-compile --constraint $(CONSTRAINTS) --no-build-isolation \
	  --config-settings editable_mode=compat --editable . $(addprefix --requirement ,$(REQUIREMENTS))
	@touch $@

$(STAMPS)/interfaces: $(STAMPS)/packages CMakeLists.txt package.xml $(wildcard cmake/* msg/*.msg srv/*.srv)
	@echo "building the ROS messages"
	@mkdir -p $(INTERFACES_BUILD)
	@{ cmake -S . -B $(INTERFACES_BUILD) -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF -DPAD_ROS_INTERFACES_ONLY=ON \
	    -DCMAKE_INSTALL_PREFIX=$(CURDIR)/$(VENV) -DCMAKE_INSTALL_RPATH='$$ORIGIN' \
	    -DPython3_EXECUTABLE=$(CURDIR)/$(BIN)/python $(CMAKE_OPTIONS) && \
	  cmake --build $(INTERFACES_BUILD) --parallel 2 && cmake --install $(INTERFACES_BUILD); \
	} > $(INTERFACES_BUILD)/log.txt 2>&1 || { tail -n 40 $(INTERFACES_BUILD)/log.txt >&2; exit 1; }
	@$(BIN)/python cmake/finish_interfaces.py
	@touch $@

# Once: where their source changes later, kernels are compiled again as they are used.
$(STAMPS)/kernels: | $(STAMPS)/interfaces
	$(BIN)/python -m pad_ros.demo.compile_kernels
	@touch $@
