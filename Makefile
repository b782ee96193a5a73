# Every target sets up .venv by itself; nothing needs root. PYTHON=python3.12 chooses the interpreter.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.docs-installed
PYTEST_ARGS ?=
# Of test-all: interpreters beside those on PATH; some of the environments, such as py310-lowest,py313-newest; some tests.
PYTHONS ?= $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/*/bin/python3.1?)
ENVS ?=
TESTS ?=
# Of the workers in test-celery-versions: all, or such as 5.3,5.7.
CELERY_VERSIONS ?= all
# Of fuzz: cases for each serializer, and the seed that makes them; a new one if it is empty.
CASES ?= 100000
# Of the soak: how long, and what it printed, to have the same again.
SECONDS ?= 600
SEED ?=
# Of the examples: where they listen, a Redis that runs already instead of one of their own, uvicorn instead of gunicorn.
PORT ?= 8000
REDIS ?=
ASGI ?=
# Of bench: three rounds of less work; a run to compare with.
QUICK ?=
AGAINST ?=
# Of coverage: some tests, instead of all.
FOLDERS ?=

# The pyright of PyPI takes a node that is on PATH, and does not download one.
export PYRIGHT_PYTHON_GLOBAL_NODE := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.DEFAULT_GOAL := help
.PHONY: help demo example-django example-flask example-script screenshots test test-unit test-full test-all test-celery-versions celery-suite mutants fuzz soak coverage bench dist-test api docs lint clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 29

$(STAMP): pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { \
	    echo "make: there is no '$(PYTHON)'; install Python 3.10 or later, or say which: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "make: bgresults needs Python 3.10 or later, '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1); say which: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "make: '$(PYTHON)' cannot create a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) (once, about a minute) ..."
	@"$(PY)" -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	@"$(PY)" -m pip install -qq -e '.[dev,demo]'
	@touch $@

demo: $(STAMP) ## the library at work, without a server of yours
	@$(PY) -m bgresults demo

example-django: $(STAMP) ## a Django project with progress bars, on port 8000; or PORT=…; under uvicorn: ASGI=1
	@$(PY) -m examples.launch django --port $(PORT) $(if $(ASGI),--asgi) $(if $(REDIS),--redis '$(REDIS)')

example-flask: $(STAMP) ## the same in Flask
	@$(PY) -m examples.launch flask --port $(PORT) $(if $(REDIS),--redis '$(REDIS)')

example-script: $(STAMP) ## the same on the terminal
	@$(PY) -m examples.launch script $(if $(REDIS),--redis '$(REDIS)')

screenshots: $(STAMP) ## take the pictures in docs/images anew; needs Chromium
	$(PY) -m tests.examples.screenshots

test: $(STAMP) ## all tests but the slow ones, in four parts at a time
	$(PY) -m tests.parts -m "not slow" $(PYTEST_ARGS)

test-unit: $(STAMP) ## what needs no server
	$(PY) -m pytest -m "not slow" tests/unit $(PYTEST_ARGS)

test-full: $(STAMP) ## all tests, the long ones too, in six parts at a time
	$(PY) -m tests.parts --apart tests/interleavings --apart tests/model $(PYTEST_ARGS)

test-all: $(STAMP) ## those of make test, with every Python from 3.10 on that is there, with the oldest and newest packages
	$(PY) -m tox run $(if $(PYTHONS),--discover $(PYTHONS)) $(if $(ENVS),-e $(ENVS)) \
	    $(if $(TESTS),-- pytest -m "not slow" $(TESTS))

test-celery-versions: $(STAMP) ## workers, and a web process, with other versions of Celery
	BGRESULTS_CELERY_VERSIONS=$(CELERY_VERSIONS) $(PY) -m pytest -m versions tests/versions $(PYTEST_ARGS)

celery-suite: $(STAMP) ## Celery's own integration tests, with its own waiting and with the drop-in's
	$(PY) -m tests.celery_suite

mutants: $(STAMP) ## wrong edits of the library, each of which a test has to notice
	$(PY) -m tests.mutants

fuzz: $(STAMP) ## hostile results, at random, through the decoder, watchers and servers
	$(PY) -m tests.fuzz --cases $(CASES) $(if $(SEED),--seed $(SEED))

soak: $(STAMP) ## everything at random, for ten minutes; or SECONDS=…, as before with SEED=…
	$(PY) -m tests.soak --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

coverage: $(STAMP) ## which lines and branches of the library the tests execute; or of FOLDERS='tests/unit …'
	$(PY) -m tests.covering $(FOLDERS)

bench: $(STAMP) ## the figures, ours beside Celery's; rough ones: QUICK=1; what is different from a run: AGAINST=FILE
	$(PY) -m benchmarks $(if $(QUICK),--quick) $(if $(AGAINST),--against '$(AGAINST)')

dist-test: $(STAMP) ## sdist and wheel, each installed into an empty environment and used there
	$(PY) -m tests.distribution

api: $(STAMP) ## write the public names down, after a change of theirs that is meant
	$(PY) -m tests.public_api

$(DOCS_STAMP): $(STAMP)
	@echo "Installing what the documentation is made with (once) ..."
	@$(PY) -m pip install -qq -e '.[docs]'
	@touch $@

docs: $(DOCS_STAMP) ## the documentation as a site, in build/docs; a warning is an error
	$(PY) -m sphinx -q -W --keep-going -E -j auto docs build/docs
	@echo "build/docs/index.html"

lint: $(STAMP) ## ruff, mypy, pyright
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	@command -v node >/dev/null || $(PY) -m pip install -qq 'pyright[nodejs]'
	$(PY) -m pyright

clean: ## remove all that was generated
	rm -rf $(VENV) .venvs .celery-versions .coverage-data build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
