# `make help` lists the only commands there are. Each works from a fresh clone by itself.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := $(VENV)/.peers
CHAPTERS := $(wildcard book/[0-9]*.ipynb)
NOTEBOOKS := $(CHAPTERS) book/claims.ipynb book/speed.ipynb book/promises.ipynb

# How many tests run at once; notebooks and the browser's tests keep together.
JOBS ?= 2

# One thread: sums come out the same, and two threads on busy cores are slower.
export OMP_NUM_THREADS := 1
export PYTHONHASHSEED := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup data book lab test lint train bench experiments clocks mutants torture notebooks costs lock clean

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
		awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

setup: $(READY) ## make .venv with everything the course needs

$(READY): requirements.txt constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile -r requirements.txt -c constraints.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@

data: $(READY) ## fetch and prepare the text of Shakespeare
	@$(BIN)/minillm prepare shakespeare

# A build that failed must say so again: Sphinx warns about a page only when it reads it.
book: data ## build the book in _build/html
	@$(BIN)/jupyter-book build . -W --keep-going -n --quiet || \
		{ rm -rf _build; exit 1; }
	@echo "The book: $(CURDIR)/_build/html/index.html"

lab: data ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=. book

lint: $(READY) ## check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The book is built anew, because a page that is not read again does not warn again.
test: lint ## run every check: style, types, layers, book, notebooks, tests
	rm -rf _build
	$(MAKE) --no-print-directory book
	$(BIN)/python book/tools/sitecheck.py _build/html
	$(BIN)/pytest --nbval book/ --numprocesses $(JOBS) --dist loadscope
	$(BIN)/pytest --numprocesses $(JOBS) --dist loadgroup

# One thread: matrices this small gain little from a second.
train: data ## train a small Llama on Shakespeare and let it write (minutes)
	$(BIN)/minillm train llama $(if $(wildcard runs/llama/config.json),--resume)
	$(BIN)/minillm generate runs/llama

$(PEERS): $(READY) benchmarks/requirements.txt
	$(BIN)/pip install --quiet --no-compile -r benchmarks/requirements.txt -c constraints.txt
	@touch $@

bench: data $(PEERS) ## compare with other libraries, for the page on speed (half an hour)
	$(BIN)/python -m benchmarks
	$(BIN)/python book/tools/renb.py book/speed.ipynb

experiments: data ## make every run behind the chapters; resumes (hours)
	$(BIN)/python -m book.experiments.bigram.run
	$(BIN)/python -m book.experiments.ablation gpt2 rmsnorm rope swiglu gqa
	$(BIN)/python -m book.experiments.rope.lengths
	$(BIN)/python -m book.experiments.amp.run
	$(BIN)/python -m book.experiments.budget.run
	test -f book/experiments/sampling/results.csv || \
		$(BIN)/python -m book.experiments.sampling.run
	test -f book/experiments/gqa/conversion.csv || \
		$(BIN)/python -m book.experiments.gqa.conversion

clocks: data ## measure anew every time that the chapters quote (minutes)
	$(BIN)/python -m book.experiments.clock
	$(BIN)/python -m book.experiments.rmsnorm.timing
	$(BIN)/python -m book.experiments.gqa.timing
	$(BIN)/python -m book.experiments.memmap.memory
	$(BIN)/python -m book.experiments.amp.timing
	$(BIN)/python -m book.experiments.kvcache.timing
	$(BIN)/python -m book.experiments.refactor.plant

mutants: $(READY) ## plant bugs in the package; the tests must find each
	$(BIN)/python tests/mutants/run.py

torture: data ## attack the package: kill it, starve it, feed it garbage (an hour)
	$(BIN)/python -m torture

notebooks: data ## run the notebooks again and store what they print
	$(BIN)/python book/tools/renb.py $(NOTEBOOKS)

costs: data ## measure each chapter's time and memory into book/costs.json
	$(BIN)/python book/tools/measure.py $(CHAPTERS)

lock: $(READY) ## write constraints.txt from what .venv holds
	$(BIN)/python book/tools/lock.py

clean: ## remove what was made, except data and runs
	rm -rf $(VENV) .litgpt _build .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
