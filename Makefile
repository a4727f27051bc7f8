# Two commands do everything on a fresh Debian 12 or 13, as root: `make demo` and `make test`. `make test-machines` tries under QEMU,
# on stock kernels, what could end this host.
CLANGS = $(shell . /etc/os-release && cat deploy/packages-lint-$$VERSION_ID.txt)
CHECKED := -target bpf -O2 -Wall -Wextra -Wno-unused-parameter -Wno-unused-function -Werror -fsyntax-only -include bpf/lint/bcc.h -Ibpf -I/usr/include/$(shell /usr/bin/python3 -c 'import sysconfig; print(sysconfig.get_config_var("MULTIARCH"))' 2>/dev/null)
PROGRAMS := $(wildcard bpf/*.c)
# What speaks of a carrier stands behind either.
BEHIND_A_CARRIER := $(patsubst %,bpf/switch/%.h,decide leave police remember sample_entry short)
HEADERS := $(filter-out $(BEHIND_A_CARRIER),$(wildcard bpf/abi/*.h bpf/rules/*.h bpf/switch/*.h bpf/carrier/*.h))

.PHONY: driver demo test test-long test-smoke test-kernels test-machines test-debian13 lint bench setup clean

demo: setup
	.venv/bin/sriov-xdp demo

test: setup
	.venv/bin/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder tests

# What takes minutes: a soak, millions of frames and of messages.
test-long: setup
	.venv/bin/python -m pytest tests/long

# Stock kernels of Debian under QEMU: the main job, what this host's kernel lacks, and suites. The first is short; the second takes hours.
test-smoke: setup
	@deploy/setup machines
	.venv/bin/python -m pytest -n 2 tests/machines/test_stock_kernels.py -k smoke

test-kernels: setup
	@deploy/setup machines
	.venv/bin/python -m pytest tests/machines/test_stock_kernels.py

test-machines:
	@deploy/setup machines
	.venv/bin/python -m pytest tests/machines --ignore tests/machines/test_stock_kernels.py

# Debian 13's user space, by debootstrap into a temporary folder, over this host's kernel.
test-debian13:
	@deploy/setup debian13
	tests/debian13/trial

lint: setup
	@deploy/setup lint
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo
	@for clang in $(CLANGS); do \
		for header in $(HEADERS); do $$clang $(CHECKED) -x c -include $$header /dev/null || exit 1; done; \
		for header in $(BEHIND_A_CARRIER); do for carrier in xdp tc; do \
			$$clang $(CHECKED) -x c -include bpf/carrier/$$carrier\_flood.h -include $$header /dev/null || exit 1; done; done; \
		for program in $(PROGRAMS); do $$clang $(CHECKED) $$program || exit 1; done; done
	@echo "bpf: $(words $(HEADERS)) headers compile alone, $(words $(BEHIND_A_CARRIER)) behind each carrier, $(words $(PROGRAMS)) programs without a warning, by $(CLANGS)"

# The VF driver for guests: one file, which needs Python 3.11 and nothing else.
driver:
	@deploy/vf-driver build/sriov-vf && ls -l build/sriov-vf

bench: setup
	.venv/bin/sriov-xdp bench

setup:
	@deploy/setup

clean:
	rm -rf build .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
