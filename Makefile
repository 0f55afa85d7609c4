# The verbs of this repository. Each is one script or one CMake call, so that it can be run without make as well.
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
MAKEFLAGS += --no-print-directory
PROOF_DATA ?= ../shared/data/cnn_dailymail.jsonl
PROOF_TEXT ?= ../shared/data/wiki.test.raw
LAUNCHER := $(if $(shell command -v ccache 2>/dev/null),-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)

.PHONY: demo test test-gpu bench proof lint docs install build setup clean

demo: build        ## fetch a real model, build its engine file, ask it something
	tools/demo.sh

test: setup        ## every check of this repository; prints the counts
	tools/test.sh

test-gpu:          ## every check that needs an NVIDIA GPU, on a machine that has one
	tools/test_gpu.sh

setup:
	tools/setup.sh

build: setup       ## build/release/quern
	cmake --preset release $(LAUNCHER) >/dev/null
	cmake --build --preset release -j $(JOBS) --target quern_cli

bench: setup       ## the kernels, each against the limit of this machine
	cmake --preset release $(LAUNCHER) -DQUERN_BENCH=ON >/dev/null
	cmake --build --preset release -j $(JOBS)
	tools/bench.sh

proof: build       ## the evaluation of 2023 re-made on the demo model: PROOF_DATA=cnn_dailymail.jsonl PROOF_TEXT=wiki.test.raw
	tools/proof.sh "$$(tools/fetch_model.sh qwen2.5-coder-0.5b-instruct)" "$(PROOF_DATA)" "$(PROOF_TEXT)" build/proof

lint:              ## clang-format, clang-tidy and shellcheck, all silent when all is well
	tools/lint.sh

docs: build        ## docs/cli/*.md from the parser
	build/release/quern docs docs/cli

install: build     ## the binary, the library, its headers and its CMake and pkg-config files
	cmake --build --preset release -j $(JOBS)
	cmake --install build/release --prefix $(PREFIX)

clean:
	rm -rf build
