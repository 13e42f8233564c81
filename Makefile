# make install   the virtual environment .venv with everything that training and testing need
# make demo      generate the demo set, train on it, evaluate, draw pictures (about 9 minutes)
# make test      lint and all tests
# make clean     what demo and tests left behind; the environment stays

PYTHON ?= python3.11
BIN := .venv/bin
DEMO := --config config/demo.json

.PHONY: install install-dev demo demo-backbone demo-model test clean
.DELETE_ON_ERROR:

install: .venv/installed
install-dev: .venv/installed-dev

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/installed-dev: requirements.txt requirements-dev.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

data/demo/prepared: data/make_demo.py data/synthetic/scene.py data/synthetic/semantics.py data/synthetic/expressions.py | .venv/installed
	$(BIN)/python data/make_demo.py --out data/demo/raw --workers 2
	$(BIN)/python data/data_process.py --data_root data/demo/raw --output_dir data/demo \
		--dataset refcoco --split unc --generate_mask --list_eval_images data/demo/eval_images.txt
	touch $@

demo: install data/demo/prepared
	$(BIN)/python train.py $(DEMO)
	for split in val testA testB; do \
		$(BIN)/python test.py $(DEMO) --set evaluate_set=data/demo/anns/refcoco/$$split.txt \
			--name demo_$$split --pictures 6 || exit 1; \
	done

# What data/demo_backbone.weights.h5 was made with.
demo-backbone: install data/demo/prepared
	$(BIN)/python -m utils.pretrain $(DEMO) --epochs 12 \
		--instances data/demo/raw/refcoco/instances.json --leave_out data/demo/eval_images.txt \
		--output log/demo_backbone/full.weights.h5
	$(BIN)/python -m model.weights convert log/demo_backbone/full.weights.h5 \
		data/demo_backbone.weights.h5 --half $(DEMO)

# What data/demo_model/ was made with: the demo network and some scenes that it has not seen.
demo-model: demo
	mkdir -p data/demo_model/scenes
	$(BIN)/python -m model.weights convert log/demo/best.weights.h5 \
		data/demo_model/mcn.weights.h5 --half $(DEMO)
	cp data/demo/raw/anchors.txt data/demo_model/anchors.txt
	awk '!seen[$$1]++' data/demo/anns/refcoco/testA.txt | head -n 6 > data/demo_model/scenes.txt
	cut -d ' ' -f 1 data/demo_model/scenes.txt | while read image; do \
		cp data/demo/raw/images/train2014/$$image data/demo_model/scenes/; done

test: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered --durations=15

clean:
	rm -rf data/demo log/demo log/demo_backbone result/demo_* .pytest_cache .ruff_cache .coverage*
