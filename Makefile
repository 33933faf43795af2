# `make demo` and `make test` need nothing but Python 3.10 to 3.12: each sets up what it runs in.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo demo-deeplab test test-all lint install notebooks docs

install: $(VENV)/.installed

$(VENV)/.installed: requirements.txt requirements-dev.txt requirements-docs.txt requirements-tpu-preflight.txt requirements-large-images.txt constraints.txt setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/pip install --quiet --prefer-binary -r requirements-dev.txt
	touch $@

demo: EXPERIMENT := maskrcnn_shapes
demo-deeplab: EXPERIMENT := deeplab_shapes

demo demo-deeplab: install
	$(BIN)/python official/train.py --experiment=$(EXPERIMENT)
	$(BIN)/python official/predict.py --model_dir=runs/$(EXPERIMENT) \
	  --input='datasets/shapes/val/val_00000*.jpg' --output_dir=runs/$(EXPERIMENT)/predictions
	@echo "look at runs/$(EXPERIMENT)/predictions/*_overlay.png and runs/$(EXPERIMENT)/pictures/*.png"

# Two processes, each a file of tests at a time: much of a test is one thread that traces.
test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Also the tests that take minutes or need what is not installed here: those are skipped, and why is said at the end (CONTRIBUTING.md).
test-all: test
	$(BIN)/python -m pytest -m "slow or tpu or parity" -rs

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=official $(BIN)/lint-imports --no-logo

# Writes the documentation site to site/; open site/index.html. The variable hides an advertisement of Material for MkDocs.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Runs the tutorials and keeps what they show.
notebooks: install
	$(BIN)/jupyter execute --inplace notebooks/*_tutorial.ipynb
