# What a contributor needs:
#
#   make build   bin/auditdrain, a static binary
#   make test    install what tests need, run all of them
#   make check   only format, vet and staticcheck
#   make bench   the record of speed on this machine, docs/benchmarks.md, in half an hour
#   make fuzz    every fuzz target for FUZZTIME (30s)
#   make soak    300 kills of the service under load, with AWS in trouble; 30 rounds of many nodes (15 min)
#   make screenshots   docs/screenshots, every page in light, dark and narrow, in a minute

FUZZTIME ?= 30s

STATICCHECK = go tool -modfile=$(CURDIR)/test/tools/go.mod staticcheck

# What a developer happens to have set must not change a result.
unexport $(filter AWS_% AUDITDRAIN_% GOFLAGS GOWORK NODE_OPTIONS,$(.VARIABLES))

.PHONY: build test check bench fuzz soak screenshots

build:
	CGO_ENABLED=0 go build -trimpath -o bin/auditdrain ./cmd/auditdrain

test:
	@test/all.sh

check:
	@files=$$(find . -name node_modules -prune -o -name '*.go' -print0 | xargs -0 gofmt -l) && \
	if [ -n "$$files" ]; then echo "not formatted, run gofmt -w:" $$files; exit 1; fi
	go vet ./...
	cd test/browser && go vet ./...
	cd test/deploy && go vet ./...
	cd test/duckdb && go vet ./...
	cd test/kit && go vet ./...
	cd test/promtool && go vet ./...
	cd test/versitygw && go vet ./...
	$(STATICCHECK) ./...
	cd test/browser && $(STATICCHECK) ./...
	cd test/deploy && $(STATICCHECK) ./...
	cd test/duckdb && $(STATICCHECK) ./...
	cd test/kit && $(STATICCHECK) ./...
	cd test/promtool && $(STATICCHECK) ./...
	cd test/versitygw && $(STATICCHECK) ./...

bench:
	go run ./test/bench -remarks test/bench/remarks.md -o docs/benchmarks.md

fuzz:
	@FUZZTIME=$(FUZZTIME) test/fuzz.sh

soak:
	CGO_ENABLED=1 go test -race -run '^(TestCrash|TestNodes)$$' -timeout 1h -v ./test/e2e -e2e.soak

screenshots:
	go -C test/browser test -count=1 -run '^TestPages$$' -screenshots $(CURDIR)/docs/screenshots
