# make demo                       the page on the sample gallery, at http://127.0.0.1:8501
# make demo PHOTOS=~/Pictures     the page on your own photos
# make test                       all tests
PYTHON ?= python3
PHOTOS ?= gallery/photos
# A store for each folder, named by the folder's path.
STORE  ?= $(if $(filter gallery/photos,$(PHOTOS)),stores/gallery,stores/$(shell printf '%s' '$(PHOTOS)' | cksum | cut -d' ' -f1))
PORT   ?= 8501

.PHONY: demo test clean

demo: .venv/.serving
	@.venv/bin/python -m index_store build "$(PHOTOS)" --store "$(STORE)"
	@echo "Serving $(PHOTOS) at http://127.0.0.1:$(PORT)   (Ctrl-C ends it)"
	@GEM_STORE="$(STORE)" .venv/bin/streamlit run app.py --server.port $(PORT)

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
