# make demo                       the page on the sample gallery, at http://127.0.0.1:8501
# make demo PHOTOS=~/Pictures     the page on your own photos
# make test                       all tests
PYTHON ?= python3
PHOTOS ?= gallery/photos
STORE  ?=
PORT   ?= 8501
# Names of folders reach the shell through the environment, as they are: a quote in one is no syntax.
override PHOTOS := $(value PHOTOS)
override STORE := $(value STORE)
export PHOTOS STORE
# A store for each folder, named by the folder's path.
NAMED_STORE = case "$$PHOTOS" in gallery/photos) echo stores/gallery;; \
	*) echo "stores/$$(printf '%s' "$$PHOTOS" | cksum | cut -d' ' -f1)";; esac

.PHONY: demo test clean

demo: .venv/.serving
	@store="$${STORE:-$$($(NAMED_STORE))}" && \
	.venv/bin/python -m index_store build --store "$$store" -- "$$PHOTOS" && \
	printf 'Serving %s at http://127.0.0.1:%s   (Ctrl-C ends it)\n' "$$PHOTOS" $(PORT) && \
	GEM_STORE="$$store" exec .venv/bin/streamlit run app.py --server.port $(PORT)

test: .venv-dev/.ready
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || sh tests/install-browser
	.venv-dev/bin/ruff check .
	.venv-dev/bin/python -m pytest

# A stamp is newer than the requirements it was installed from, so a change there installs again.
.venv/.serving: requirements.txt
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed"'
	@$(PYTHON) -m venv .venv
	@echo "Installing what serving needs (about 500 MB, once)"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv-dev/.ready: requirements.txt requirements-openvino.txt requirements-train.txt requirements-matchers.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed"'
	@$(PYTHON) -m venv .venv-dev
	@echo "Installing what the tests need, torch included (once)"
	@.venv-dev/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

clean:
	rm -rf .venv .venv-dev stores
