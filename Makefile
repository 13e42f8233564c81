# make install        create .venv with everything that training, testing and prediction need
# make install-dev    the same, with the optional packages and the developers' tools
# make demo           generate the demo set, train on it, evaluate, draw figures (5 to 10 minutes)
# make refcoco        download, prepare, train and test RefCOCO with published settings, and compare
#                     (also refcoco+, refcocog, refclef; BACKBONE=vgg; needs a GPU and days)
# make demo-backbone  retrain data/demo_backbone.weights.h5, which the demo starts from
# make demo-model     train the network of data/demo_model/, which predict.py uses by default, on
#                     larger scenes (up to 90 minutes)
# make pictures       draw the README's pictures with the current code; that of the page needs
#                     Chromium and its driver, and stays as it is without them
# make ablation       train and compare variants of the recipe on the demo set: docs/ablation.md
# make test           lint, type-check and run all tests
# make coverage       the same tests, with coverage: half as long again
# make test-fast      run the tests that are not marked slow (under 90 s on two cores)
# make fuzz           run the tests with random input for longer
# make soak           run the long tests: kills at random moments, thousands of steps, load
# make lint           ruff and mypy alone
# make clean          delete what demo and tests leave behind, except .venv
#
# Each target sets up what it needs. The first suitable Python of PYTHON is used; to choose one:
# make install PYTHON=/path/to/python3.12

PYTHON ?= python3.11 python3.12 python3.13 python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DEMO := --config config/demo.json
DEMO_MODEL := --config config/demo_model.json
BACKBONE ?= darknet
# One test process per core; each keeps a file's tests together, which share their networks.
PARALLEL := --numprocesses auto --maxprocesses 8 --dist loadfile

.PHONY: install install-dev refcoco refcoco+ refcocog refclef demo demo-backbone demo-model pictures ablation test coverage test-fast fuzz soak lint clean
.DELETE_ON_ERROR:

install: .venv/installed
install-dev: .venv/installed-dev

# pip arrives last, so an interrupted creation is repeated.
.venv/bin/pip:
	@for python in $(PYTHON); do \
		if $$python -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
				2> /dev/null; then \
			echo "Creating .venv with $$python"; \
			exec $$python -m venv --clear .venv; \
		fi; \
	done; \
	echo "error: none of \"$(PYTHON)\" is a Python 3.11, 3.12 or 3.13 with its venv module;" \
		"install one (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install" \
		"python@3.12) or name it: make install PYTHON=/path/to/python3.12" >&2; \
	exit 1

.venv/installed: requirements.txt constraints.txt | .venv/bin/pip
	$(PIP) -r requirements.txt
	touch $@

.venv/installed-dev: $(wildcard requirements*.txt) constraints.txt | .venv/bin/pip
	$(PIP) -r requirements-dev.txt
	touch $@

data/demo_large/prepared: SCENES := --size 256 --scenes 8000 --eval_scenes 250
data/demo/prepared data/demo_large/prepared: data/make_demo.py $(wildcard data/synthetic/*.py) \
		| .venv/installed
	$(BIN)/python data/make_demo.py --output $(@D)/raw $(SCENES) --workers 2
	$(BIN)/python data/data_process.py --data_root $(@D)/raw --output_dir $(@D) \
		--dataset refcoco --split unc --generate_mask --overwrite
	touch $@

demo: install data/demo/prepared
	$(BIN)/python train.py $(DEMO)
	for split in val testA testB; do \
		$(BIN)/python test.py $(DEMO) --set evaluate_set=data/demo/anns/refcoco/$$split.txt \
			--name demo_$$split --pictures 6 || exit 1; \
	done

refcoco refcoco+ refcocog refclef: install
	$(BIN)/python -m utils.reproduce $@ --backbone $(BACKBONE)

# What data/demo_backbone.weights.h5 was made with.
demo-backbone: install data/demo/prepared
	$(BIN)/python data/data_process.py --data_root data/demo/raw \
		--dataset refcoco --split unc --list_eval_images data/demo/eval_images.txt
	$(BIN)/python -m utils.pretrain $(DEMO) --epochs 12 \
		--instances data/demo/raw/refcoco/instances.json --leave_out data/demo/eval_images.txt \
		--output log/demo_backbone/full.weights.h5 --overwrite
	$(BIN)/python -m model.weights convert log/demo_backbone/full.weights.h5 \
		data/demo_backbone.weights.h5 --half --overwrite $(DEMO)

# What data/demo_model/ was made with.
demo-model: install data/demo_large/prepared
	$(BIN)/python train.py $(DEMO_MODEL)
	$(BIN)/python -m model.weights convert log/demo_model/best.weights.h5 \
		data/demo_model/mcn.weights.h5 --half --overwrite $(DEMO_MODEL)
	cp data/demo_large/raw/anchors.txt data/demo_model/anchors.txt
	for split in val testA testB; do \
		$(BIN)/python test.py $(DEMO_MODEL) --weights data/demo_model/mcn.weights.h5 \
			--set evaluate_set=data/demo_large/anns/refcoco/$$split.txt \
			--name demo_model_$$split --pictures 6 || exit 1; \
	done
	rm -rf data/demo_model/scenes data/demo_model/scenes.txt data/demo_model/scenes.jsonl
	$(BIN)/python -m utils.showcase --weights data/demo_model/mcn.weights.h5 $(DEMO_MODEL) \
		--set evaluate_set=data/demo_large/anns/refcoco/testA.txt --output data/demo_model

# assets/demo.jpg and assets/page.jpg of the README.
pictures: install-dev data/demo_large/prepared
	$(BIN)/python -m utils.showcase --weights data/demo_model/mcn.weights.h5 $(DEMO_MODEL) \
		--set evaluate_set=data/demo_large/anns/refcoco/testA.txt --sheet assets/demo.jpg --overwrite
	$(BIN)/python -m utils.page.screenshot --output assets/page.jpg --overwrite

ablation: install data/demo/prepared
	$(BIN)/python benchmarks/ablate.py $(DEMO) --set epoches=4 --document docs/ablation.md

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest $(PARALLEL) --durations=15

coverage: install-dev
	$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report=term

test-fast: install-dev
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not soak"

fuzz: install-dev
	$(BIN)/python -m pytest tests/fuzz --hypothesis-profile=long

soak: install-dev
	$(BIN)/python -m pytest -m soak -s --durations=0

clean:
	rm -rf data/demo data/demo_large log/ablation_demo log/demo log/demo_backbone log/demo_model result/demo_* .pytest_cache .ruff_cache .mypy_cache .coverage*
