# Every target sets up what it needs in .venv and then does its work.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo gallery gallery-real docs try-all test test-fast test-gpu real-models browser page-libraries lint format bench \
	mutate pocket wheel clean

# torch comes first: with PIP_INDEX_URL or pip's configuration naming the index of CPU builds, they are what is taken.
$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

# pyright does not read the editable install's finder: the link shows it the package under its name.
$(VENV)/.dev: $(VENV)/.core
	mkdir -p $(VENV)/typing && ln -sfn ../.. $(VENV)/typing/iclprobe
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

install: $(VENV)/.dev

# The whole pipeline on the embedded model: what it does, what its weights look like, where in training they moved.
demo: $(VENV)/.core
	$(BIN)/iclprobe compare --limit 200 --out runs/demo --overwrite
	$(BIN)/iclprobe sparsity --out runs/demo-sparsity --overwrite
	$(BIN)/iclprobe drift --icl pocket-topic-code --seeds 0,1 --limit 64 --out runs/demo-drift --overwrite

# The texts and pictures of reports/gallery again: on the embedded model, half an hour on two cores, and on two real
# models where they are at hand. What is complete of the papers in runs/gallery is kept.
gallery: $(VENV)/.core
	$(BIN)/iclprobe compare --limit 200 --out runs/gallery/compare-pocket --overwrite
	$(BIN)/iclprobe controls --seeds 0,1,2 --limit 128 --out runs/gallery/controls-pocket --overwrite
	$(BIN)/iclprobe drift --icl pocket-topic-code --seeds 0,1 --limit 64 --out runs/gallery/drift-pocket --overwrite
	$(BIN)/iclprobe trajectory --lr 0.03,0.1,0.3 --epochs 2 --seeds 0,1,2 --limit 64 --null-draws 2 \
		--out runs/gallery/trajectory-pocket --overwrite
	$(BIN)/iclprobe sparsity --out runs/gallery/sparsity-pocket --overwrite
	$(BIN)/iclprobe reproduce --all --out runs/gallery/papers
	for run in compare controls drift sparsity trajectory; do \
		cp runs/gallery/$$run-pocket/table.txt runs/gallery/$$run-pocket/*.png reports/gallery/$$run-pocket/; done
	cp runs/gallery/papers/index.txt reports/gallery/papers-pocket/
	for text in reports/gallery/papers-pocket/*-*.txt reports/gallery/papers-pocket/claims.txt; do \
		name=$$(basename $$text .txt); cp runs/gallery/papers/$$name/table.txt $$text; \
		for picture in figure claims; do [ ! -f runs/gallery/papers/$$name/$$picture.png ] || \
			cp runs/gallery/papers/$$name/$$picture.png reports/gallery/papers-pocket/$$name.png; done; done
	[ ! -d .real-models ] || $(MAKE) gallery-real

# One run with its page, and what the pages of the measures tell of real models. Of those, the pictures that are
# in the gallery are renewed.
SST2 := --task sst2 --data ../shared/data/sst2 --template shen --shots 8 --limit 100
GEMMA := --model .real-models/gemma3-270m $(SST2)
gallery-real: real-models
	$(BIN)/iclprobe compare $(GEMMA) --lr 0.01 --keep-rows 12 --keep-maps 1 --out runs/gallery/compare-gemma3 --overwrite
	$(BIN)/iclprobe attention $(GEMMA) --query 3 --settings zsl,icl --out runs/gallery/attention-gemma3 --overwrite
	$(BIN)/iclprobe attention --model .real-models/smollm2-135m-instruct $(SST2) --settings zsl,icl,ft --lr 0.03 \
		--out runs/gallery/attention-smollm2 --overwrite
	$(BIN)/iclprobe transfer --model .real-models/gemma3-270m --task sst2 --data ../shared/data/sst2 --template shen \
		--shots 16 --limit 40 --lr 0.003 --out runs/gallery/transfer-gemma3 --overwrite
	$(BIN)/iclprobe transfer --model .real-models/gemma3-270m --task sst2 --data ../shared/data/sst2 --template shen \
		--shots 16 --limit 40 --lr 0.003 --seeds 0,1,2 --sites attention_outputs \
		--out runs/gallery/transfer-gemma3-draws --overwrite
	cp runs/gallery/transfer-gemma3-draws/table.txt reports/gallery/transfer-gemma3/three-draws.txt
	$(BIN)/iclprobe parts --model .real-models/smollm2-135m-instruct $(SST2) --shots 16 --limit 40 --dtype float32 \
		--out runs/gallery/parts-smollm2 --overwrite
	$(BIN)/iclprobe parts $(GEMMA) --shots 16 --limit 40 --dtype float32 --lr 0.003 --out runs/gallery/parts-gemma3 --overwrite
	$(BIN)/iclprobe compare $(GEMMA) --limit 32 --seeds 0,1,2 --dtype float32 --keep-rows 0 --keep-maps 0 \
		--recipes reports/gallery/controls-of-similarity-gemma3/dai.yaml,match_icl,distill_icl \
		--out runs/gallery/controls-of-similarity-gemma3 --overwrite
	$(BIN)/iclprobe labels $(GEMMA) --limit 32 --seeds 0,1,2 --dtype float32 --lr 0.01 --null-draws 3 \
		--out runs/gallery/labels-gemma3 --overwrite
	$(BIN)/iclprobe implicit-update $(GEMMA) --shots 16 --limit 40 --dtype float32 --lr 0.003 \
		--out runs/gallery/implicit-update-gemma3 --overwrite
	for run in compare-gemma3 attention-gemma3 attention-smollm2 transfer-gemma3 parts-gemma3 parts-smollm2 \
		controls-of-similarity-gemma3 labels-gemma3 implicit-update-gemma3; do \
		cp runs/gallery/$$run/table.txt reports/gallery/$$run/; \
		for picture in reports/gallery/$$run/*.png; do [ ! -f runs/gallery/$$run/$$(basename $$picture) ] || \
			cp runs/gallery/$$run/$$(basename $$picture) $$picture; done; done
	cp runs/gallery/compare-gemma3/page.html reports/gallery/compare-gemma3/

# The site, strictly and without a network, into build/site.
docs: $(VENV)/.dev
	HF_HUB_OFFLINE=1 $(BIN)/python docs/make_site.py

# The everyday run leaves out the long tests; `make test` is everything.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-fast: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow'

# What only a GPU can show; without one every test is skipped with the reason.
test-gpu: $(VENV)/.dev
	$(BIN)/python -m pytest tests/gpu -v

# Two real pretrained models (Llama and Gemma 3 type, 0.8 GB) for the tests marked `real`, into an ignored folder.
real-models: $(VENV)/.dev
	$(BIN)/python ../shared/tools/real_models.py .real-models

# What looks at pages in the browser's tests, from the npm registry into an ignored folder.
AXE := 4.14.1
browser: .browser/axe.min.js
.browser/axe.min.js:
	mkdir -p .browser && cd .browser && npm pack --silent axe-core@$(AXE)
	tar -xzf .browser/axe-core-$(AXE).tgz -C .browser --strip-components=1 package/axe.min.js

# The libraries that pages carry, again from the npm registry; versions.json beside them says which they are.
VENDOR := $(CURDIR)/reports/page/vendor
page-libraries:
	place=$$(mktemp -d) && cd $$place && npm pack --silent d3@7.9.2 @observablehq/plot@0.6.17 && \
	tar -xzf d3-7.9.2.tgz --one-top-level=d3 && tar -xzf observablehq-plot-0.6.17.tgz --one-top-level=plot && \
	cp d3/package/dist/d3.min.js plot/package/dist/plot.umd.min.js $(VENDOR)/ && \
	cp d3/package/LICENSE $(VENDOR)/d3.LICENSE && cp plot/package/LICENSE $(VENDOR)/plot.LICENSE && rm -rf $$place

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What pages say of speed, measured, into the record and onto the pages; on a machine where nothing else computes.
# `BENCH="startup --pairs 5"` measures one of it, `BENCH=all` what no page quotes as well.
bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks $(BENCH)

# Change the source in one place after another and see whether the tests of the same package notice. What may live
# is listed, with the reason, in tests/mutation/equivalent.toml. `SAMPLE=60` draws some of the changes at random,
# and `TESTS=tests/models/test_recipe.py` asks these tests instead of all of the package's.
FILES ?= probes hooks/rows.py
mutate: $(VENV)/.dev
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m mutation $(FILES) \
		$(if $(TESTS),--tests $(TESTS)) $(if $(SAMPLE),--sample $(SAMPLE))

# Train the embedded model again (under an hour on two cores).
pocket: $(VENV)/.core
	$(BIN)/python -m iclprobe.models.pocket.train --out models/pocket/weights

# Everything that can be installed, in a fresh environment beside the repository: each engine runs a capture.
try-all:
	rm -rf $(VENV)-all && $(PYTHON) -m venv $(VENV)-all
	$(VENV)-all/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(VENV)-all/bin/python -m pip install --quiet --constraint constraints.txt '.[all]'
	cd $(VENV)-all && bin/iclprobe check pocket --engine transformer-lens
	cd $(VENV)-all && bin/iclprobe check pocket --engine nnsight
	rm -rf $(VENV)-all build

wheel: $(VENV)/.dev
	$(BIN)/python -m pip wheel --no-deps --wheel-dir dist .

clean:
	rm -rf build dist *.egg-info runs
