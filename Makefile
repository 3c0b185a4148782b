# make demo                       the page with the sample gallery, at http://127.0.0.1:8501
# make demo PHOTOS=~/Pictures     the page with your own photos
# make demo ... MODEL=NAME        with another descriptor: a name of `python -m export --models` or
#                                 `python -m export --list`, or a model file
# make figures                    measure the README's table: data sets, results, plot
# make test                       all tests
PYTHON ?= python3
PHOTOS ?= gallery/photos
STORE  ?=
MODEL  ?=
PORT   ?= 8501
# Names are passed to the shell in the environment, so that quotes in them are not syntax.
override PHOTOS := $(value PHOTOS)
override STORE := $(value STORE)
override MODEL := $(value MODEL)
export PHOTOS STORE MODEL
# Packages are installed without compiled modules. Where these could not be kept, every start of
# Python would compile what it imports again: a server, a command, each process of the tests.
unexport PYTHONDONTWRITEBYTECODE
# A store for each folder, named by the folder's path, and for each model but the first.
NAMED_STORE = case "$$PHOTOS" in gallery/photos) echo stores/gallery;; \
	*) echo "stores/$$(printf '%s' "$$PHOTOS" | cksum | cut -d' ' -f1)";; esac

# A published network, which is downloaded and exported first.
PUBLISHED = gl18-*|sfm120k-*|solar-*|imagenet-*|sscd_*|dinov2-*|timm:*

.PHONY: demo figures test clean

demo: .venv/.serving
	@case "$$MODEL" in $(PUBLISHED)) $(MAKE) --no-print-directory .venv/.export;; esac
	@case "$$MODEL" in $(PUBLISHED)) \
		name="$$MODEL" && MODEL="downloads/models/$$(printf '%s' "$$name" | sed 's|[:/]|-|g').onnx" && \
		{ test -e "$$MODEL" || .venv/bin/python -m export --out "$$MODEL" -- "$$name"; } || exit;; \
	esac && \
	base="$${STORE:-$$($(NAMED_STORE))}" && served= && set -- "$${MODEL:-gem-resnet101}" && \
	index= && if [ "$$PHOTOS$$STORE$$MODEL" = gallery/photos ]; then \
		set -- "$$@" efficientnet-lite2 && index=--index=ivf-pq; \
	fi && \
	for model; do \
		name="$$(basename -- "$$model" .onnx)" && store="$$base" && \
		if [ "$$name" != gem-resnet101 ] && [ -z "$$STORE" ]; then store="$$base-$$name"; fi && \
		.venv/bin/python -m index_store build --store "$$store" --model="$$model" $$index -- "$$PHOTOS" || exit; \
		served="$$served$${served:+:}$$store"; \
	done && \
	printf 'Serving %s at http://127.0.0.1:%s   (Ctrl-C ends it)\n' "$$PHOTOS" $(PORT) && \
	GEM_STORE="$$served" GEM_MODEL="$$MODEL" exec .venv/bin/streamlit run app.py --server.port $(PORT)

figures: .venv/.figures
	.venv/bin/python -m evaluation figures

test: .venv-dev/.ready
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || sh tests/install-browser
	@for one in nginx systemd-analyze openssl strace; do \
		PATH="$$PATH:/usr/sbin" command -v $$one >/dev/null || { sh tests/install-server; break; }; \
	done
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .
	@# A Ray cluster that is started by a process of pytest-xdist may never answer. So Ray's tests run
	@# in a separate process, in parallel: they wait most of the time, as browser tests do.
	.venv-dev/bin/mypy & types=$$!; \
	OMP_NUM_THREADS=1 .venv-dev/bin/python -m pytest tests/index_store/test_ray.py & ray=$$!; \
	OMP_NUM_THREADS=1 .venv-dev/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
		--ignore tests/index_store/test_ray.py; others=$$?; \
	wait $$types && wait $$ray && exit $$others

# A stamp is newer than the requirements it was installed from, so changing these reinstalls.
.venv/.serving: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed"'
	@$(PYTHON) -m venv .venv
	@echo "Installing what serving needs (about 500 MB, once)"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

.venv/.figures: requirements-evaluation.txt .venv/.serving
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-evaluation.txt
	@touch $@

.venv/.export: requirements-train.txt requirements-evaluation.txt .venv/.serving
	@echo "Installing what converting a network needs, torch included (once)"
	@.venv/bin/python -m pip install --no-compile --quiet --disable-pip-version-check -r requirements-train.txt
	@touch $@

.venv-dev/.ready: requirements.txt requirements-evaluation.txt requirements-openvino.txt requirements-train.txt requirements-matchers.txt requirements-milvus.txt requirements-ray.txt requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed"'
	@$(PYTHON) -m venv .venv-dev
	@echo "Installing what the tests need, torch included (once)"
	@# Most modules are never imported. Those that are, are compiled then.
	@.venv-dev/bin/python -m pip install --no-compile --quiet --disable-pip-version-check -r requirements-dev.txt
	@.venv-dev/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

clean:
	rm -rf .venv .venv-dev stores
