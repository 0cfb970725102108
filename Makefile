# make demo   set up, then the whole job on synthetic scenes, with a small training     make test   set up, then all tests
# make lint   ruff and mypy                                         make bench  the benchmarks, with their rivals
# make fuzz   100,000 damaged files for every reader of files, and docs/fuzz.md of what came of it

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: setup demo test lint bench fuzz clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	rm -rf demo
	$(BIN)/stamp-data synth demo/playground --images 6000
	$(BIN)/stamp-data build all --root demo/playground --out demo/shards --passes 2 --min-tokens 4 --max-tokens 48
	$(BIN)/stamp-data verify demo/shards
	$(BIN)/stamp-data inspect demo/shards
	$(BIN)/stamp-data inspect demo/shards --html demo/gallery.html
	CUDA_VISIBLE_DEVICES= $(BIN)/stamp-train run tiny --processes 2 --set data.root=demo/shards --out demo/run --json > demo/results.json
	$(BIN)/stamp-train eval demo/run demo/shards/refcoco-unc/val --upsampling guided --out demo/evaluation
	cat demo/results.json

test: setup
	$(BIN)/python -m pytest -n auto

# mypy follows no mapped packages, so it gets a folder in which they have the names that they are imported by.
lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p $(VENV)/mypy
	ln -sfn ../../cli $(VENV)/mypy/stamp_cli
	ln -sfn ../../schemas $(VENV)/mypy/stamp_schemas
	ln -sfn ../../stamp_data $(VENV)/mypy/stamp_data
	ln -sfn ../../stamp_train $(VENV)/mypy/stamp_train
	cd $(VENV)/mypy && MYPYPATH=. ../bin/mypy --config-file ../../pyproject.toml stamp_cli stamp_schemas stamp_data stamp_train

bench: setup
	for script in start build gallery stream plan train_step head generate eval oracle; do $(BIN)/python bench/$$script.py || exit 1; done

fuzz: setup
	$(BIN)/python -m tests.fuzz

clean:
	rm -rf $(VENV) demo build *.egg-info
