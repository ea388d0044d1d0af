# Every command starts from a bare machine with Python >= 3.11 and make: it makes .venv, installs, and does its job.
PYTHON ?= python3
BUILD ?= build
JOBS ?= 2

# uv reads UV_FIND_LINKS where pip reads PIP_FIND_LINKS: a folder of wheels given to one is given to both.
UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
ifneq ($(strip $(UV_FIND_LINKS)),)
export UV_FIND_LINKS
endif

# Never a CUDA build of torch, several GB here for nothing: the folder's build where it has one, else torch's CPU index.
WHEEL := $(lastword $(wildcard $(addsuffix /torch-*.whl,$(UV_FIND_LINKS))))
TORCH ?= $(if $(WHEEL),torch==$(word 2,$(subst -, ,$(notdir $(WHEEL)))),--torch-backend cpu)

# Where Python may write no bytecode, as in many containers, each of hundreds of processes would compile torch anew.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python --group dev
BAKE := $(BIN)/cookiecutter --no-input --default-config --overwrite-if-exists .
EVERYTHING := framework=both tasks=all features=compare,export,scale,tune,engine_tests
SOURCE := {{cookiecutter.project_slug}}/src/{{cookiecutter.package_name}}

.PHONY: help demo test test-slow audit dev bench lint clean

help:
	@echo "make demo       bake a project with both frameworks and train both"
	@echo "make test       the tests"
	@echo "make test-slow  the tests that take too long for that"
	@echo "make audit      known vulnerabilities in what a full project installs"
	@echo "make dev        a full project in $(BUILD)/dev whose package is the template's own source"
	@echo "make bench      the figures of speed in docs/results.md"
	@echo "make lint       ruff"
	@echo "make clean      remove $(BUILD)/ and .venv/"

demo: .venv/.installed
	rm -rf $(BUILD)/demo
	$(BAKE) --output-dir $(BUILD) project_name=Demo framework=both > /dev/null
	cd $(BUILD)/demo && PYTHONPATH=src "$(CURDIR)/$(BIN)/python" train.py
	@echo
	@echo "The charts of both, side by side:"
	@echo
	@echo "  .venv/bin/tensorboard --logdir $(BUILD)/demo/runs"

test: .venv/.installed
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow" $(ARGS)

test-slow: .venv/.installed
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m slow $(ARGS)

# pip-audit stands in an environment of its own, so that it is not among what it looks at.
audit: .venv/.installed
	$(BIN)/uv tool run pip-audit --progress-spinner off --path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

# Baked anew each time, with what was trained and downloaded kept. Never baked into $(BUILD)/dev itself: through the
# link, that would write into the template.
dev: .venv/.installed
	rm -rf $(BUILD)/fresh
	$(BAKE) --output-dir $(BUILD)/fresh project_name=Dev $(EVERYTHING) > /dev/null
	for kept in runs data; do if [ -e $(BUILD)/dev/$$kept ]; then mv $(BUILD)/dev/$$kept $(BUILD)/fresh/dev/; fi; done
	rm -rf $(BUILD)/dev
	mv $(BUILD)/fresh/dev $(BUILD)/dev
	mv $(BUILD)/dev/src/dev $(BUILD)/fresh/copy
	@ln -s "$(CURDIR)/$(SOURCE)" $(BUILD)/dev/src/dev 2> /dev/null || { \
	  mv $(BUILD)/fresh/copy $(BUILD)/dev/src/dev; \
	  echo "No symlinks here: $(BUILD)/dev/src/dev is a COPY; an edit of the template needs 'make dev' again."; }
	rm -rf $(BUILD)/fresh
	@echo "Next: cd $(BUILD)/dev && PYTHONPATH=src '$(CURDIR)/$(BIN)/python' train.py"

bench: .venv/.installed
	$(BIN)/python benchmarks/run.py $(ARGS)

lint: .venv/.installed
	$(BIN)/ruff check --config pyproject.toml .
	$(BIN)/ruff format --check --config pyproject.toml .

clean:
	rm -rf $(BUILD) .venv

# A full project's own pyproject.toml says what it needs; its index of CPU wheels is left out (--no-sources), see TORCH.
.venv/.installed: pyproject.toml cookiecutter.json {{cookiecutter.project_slug}}/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: make PYTHON=... $(MAKECMDGOALS)")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"
	$(UV)
	rm -rf $(BUILD)/install
	$(BAKE) --output-dir $(BUILD)/install $(EVERYTHING) > /dev/null
	$(UV) --no-sources --requirements $(BUILD)/install/my-project/pyproject.toml --extra cpu --extra export --extra compare --extra tune $(TORCH)
	rm -rf $(BUILD)/install
	touch $@
