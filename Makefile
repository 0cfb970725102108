PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

# Where it is set, each of the many processes that are started would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup axe demo test test-avx2 test-oldest test-4.57 lint bench fuzz site docs reference screenshots clean

help:  ## these targets
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## .venv with the versions of constraints.txt; the other targets do it first

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup  ## the whole job on synthetic scenes, with a small training
	rm -rf demo
	$(BIN)/stamp-data synth demo/playground --images 2400
	$(BIN)/stamp-data build all --root demo/playground --out demo/shards --passes 2 --min-tokens 4 --max-tokens 48
	$(BIN)/stamp-data verify demo/shards
	$(BIN)/stamp-data inspect demo/shards
	$(BIN)/stamp-data inspect demo/shards --html demo/gallery.html
	CUDA_VISIBLE_DEVICES= $(BIN)/stamp-train run tiny --processes 2 --set data.root=demo/shards --out demo/run --json > demo/results.json
	$(BIN)/stamp-train eval demo/run demo/shards/refcoco-unc/val --out demo/evaluation
	cat demo/results.json

# What the test of pages for everybody asks: for tests alone, no copy lies here. Without npm or a network that test is skipped.
AXE := .axe
axe: $(AXE)/node_modules/axe-core/axe.min.js  ## axe-core from npm, for the test that looks at every page with it
$(AXE)/node_modules/axe-core/axe.min.js:
	@npm install --prefix $(AXE) --no-save --no-audit --no-fund --silent axe-core@4.14.1 || echo "no axe-core: there is no npm or no network, and the test that needs it is skipped"

test: setup axe  ## all tests
	$(BIN)/python -m pytest -n auto --dist worksteal

# The tests of numbers: whoever adds such a file adds it here. The variables keep PyTorch and its libraries to AVX2.
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
NUMERIC := $(addprefix tests/stamp_train/,attention backbones generation methods sequence publish/test_export.py \
	train/test_engines.py train/test_loop.py train/test_optimizer.py train/test_precision.py train/test_tiny.py \
	predict/test_segmenter.py predict/test_opening.py predict/test_refine_sam.py predict/pointing eval/test_evaluator.py)
test-avx2: setup  ## what computes, again as on a processor with AVX2 and without units for bfloat16
	$(AVX2) $(BIN)/python -m pytest -n auto --dist worksteal $(NUMERIC)

# The least versions of what opens and trains models; everything else as in constraints.txt.
OLDEST := .venv-oldest
$(OLDEST)/.ready: pyproject.toml constraints.txt constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	awk -F== '/^#/ {next} NR == FNR {print; least[tolower($$1)] = 1; next} !(tolower($$1) in least)' constraints-oldest.txt constraints.txt > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/pip install --quiet --disable-pip-version-check --constraint $(OLDEST)/constraints.txt --editable '.[train,tokenizer]' pytest hypothesis
	touch $@

test-oldest: $(OLDEST)/.ready  ## models on the least versions that pyproject.toml allows
	$(OLDEST)/bin/python -m pytest $(addprefix tests/stamp_train/,$(addprefix backbones/test_,published.py model.py golden.py lora.py processor.py) sequence/test_tokens.py)

# A transformers that the project itself no longer runs on, beside the torch of .venv: it opens what is written here.
OLDER := .venv-4.57
$(OLDER)/.ready: $(STAMP)
	$(PYTHON) -m venv $(OLDER)
	$(OLDER)/bin/pip install --quiet --disable-pip-version-check --no-deps transformers==4.57.1 tokenizers==0.22.2 huggingface_hub==0.36.2
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > "$$($(OLDER)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/base.pth"
	touch $@

test-4.57: setup $(OLDER)/.ready  ## what is written, read by transformers 4.57
	STAMP_OLDER_PYTHON=$(OLDER)/bin/python $(BIN)/python -m pytest tests/stamp_train/backbones/test_published.py -k older

# mypy follows no mapped packages, so it gets a folder in which they have the names that they are imported by.
lint: setup  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p $(VENV)/mypy
	ln -sfn ../../cli $(VENV)/mypy/stamp_cli
	ln -sfn ../../schemas $(VENV)/mypy/stamp_schemas
	ln -sfn ../../stamp_data $(VENV)/mypy/stamp_data
	ln -sfn ../../stamp_train $(VENV)/mypy/stamp_train
	ln -sfn ../../tools $(VENV)/mypy/tools
	cd $(VENV)/mypy && MYPYPATH=. ../bin/mypy --config-file ../../pyproject.toml stamp_cli stamp_schemas stamp_data stamp_train tools

bench: setup  ## the benchmarks, with their rivals
	for script in start build gallery gallery_page stream plan train_step head generate eval oracle; do $(BIN)/python bench/$$script.py || exit 1; done

fuzz: setup  ## 100,000 damaged files for every reader of files, and docs/fuzz.md of what came of it
	$(BIN)/python -m tests.fuzz

# Links, commands, numbers and the generated pages are tests; MkDocs checks links and anchors once more, and builds site/.
$(VENV)/.docs: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

site: setup $(VENV)/.docs  ## the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: setup site  ## checks every link, command and number of the documentation, and builds site/
	$(BIN)/python -m pytest -n auto --dist worksteal tests/docs

reference: setup  ## docs/reference/ anew, from the code
	$(BIN)/python -m tools.reference

screenshots: setup  ## docs/pictures/ anew, in Chromium, of what `make demo` leaves (which comes first where it is missing)
	test -f demo/evaluation/page.html || $(MAKE) demo
	$(BIN)/python -m tools.screenshots demo

clean:  ## removes what these targets made
	rm -rf $(VENV) $(AXE) $(OLDEST) $(OLDER) demo build site *.egg-info
