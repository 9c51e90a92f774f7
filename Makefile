# tidegate: `make help` lists what can be done. Two commands do everything on a fresh Debian 12 with Go, make and root:
# `make demo` shows it, `make test` tests it. Both install missing Debian packages and say so first.
SHELL := /bin/sh
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
# Programs and the packages they come in.
SERVERS := haproxy nginx=nginx-light gunicorn
# The race detector needs a C compiler. Debian's small nginx lacks the stream module; it is 150 kB.
TEST_TOOLS := $(SERVERS) gcc=gcc,libc6-dev /usr/lib/nginx/modules/ngx_stream_module.so=libnginx-mod-stream \
	uwsgi_python3=uwsgi-core,uwsgi-plugin-python3 puma unicorn php-fpm8.2=php8.2-fpm passenger
export CGO_ENABLED ?= 1

.PHONY: help build install deps test-deps demo test test-short test-matrix test-moves test-nginx race e2e lint fuzz bench promises sensitivity simulate clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/tidegate
	@CGO_ENABLED=0 go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/tidegate ./cmd/tidegate

install: build ## install the binary to $(DESTDIR)/usr/local/bin
	install -D -m 755 bin/tidegate $(DESTDIR)/usr/local/bin/tidegate

deps: ## install haproxy, nginx and gunicorn if they are missing (says so first)
	@scripts/deps.sh $(SERVERS)

test-deps:
	@scripts/deps.sh $(TEST_TOOLS)

demo: deps build ## two minutes on this machine: a real fleet under a load that comes and goes
	@bin/tidegate demo $(DEMO)

test: test-deps ## unit, race and end-to-end tests against the real programs
	@go vet ./...
	@scripts/test.sh -count=1 -race -timeout 12m ./...
	@# What the race detector makes too slow or too large runs without it.
	@scripts/test.sh -count=1 ./sim/...
	@scripts/test.sh -count=1 -run TestLargeSiteIsSmall ./spoa

test-short: ## the tests that need no other programs
	@scripts/test.sh -short ./core/... ./conf/... ./api/... ./control/... ./internal/... ./tests/arch/...

test-matrix: test-deps ## the filter's tests, with their tables, the runtime API's and 100 reloads among changes, on HAProxy 2.6, 3.0, 3.2 and 3.4, test-nginx, gunicorn's control socket on a 26.2 (all from newer Debian suites), and app servers up and down ten times
	@scripts/versions.sh haproxy dist/haproxy
	@TIDEGATE_TEST_HAPROXIES="$$(ls -d $(CURDIR)/dist/haproxy/*/haproxy 2>/dev/null | tr '\n' ' ')" \
		go test -count=1 -timeout 15m -v -run '$(or $(MATRIX),TestWalk|TestHarmless|TestAgentHangs|TestShutdown|TestSampled|TestHeartbeats|TestReload|TestConnectionsGo)' ./conf/haproxy/
	@for haproxy in haproxy $$(ls -d $(CURDIR)/dist/haproxy/*/haproxy 2>/dev/null); do \
		echo "== $$haproxy"; \
		TIDEGATE_TEST_HAPROXY=$$haproxy TIDEGATE_RELOADS=100 go test -count=1 -timeout 15m -run 'TestReconcile|TestCheckLive' ./cmd/tidegate && \
		TIDEGATE_TEST_HAPROXY=$$haproxy go test -count=1 -timeout 15m -run 'TestAReload|TestKindsOf|TestBusySlots|TestFreeSlots|TestManyCommands|TestLoadAnd|TestMetrics' ./haproxy || exit 1; \
	done
	@TIDEGATE_TEST_CYCLES=12 go test -count=1 -v -run Cycles ./agent/systemd
	@scripts/gunicorn-version.sh dist/gunicorn
	@TIDEGATE_TEST_GUNICORN="$$(ls -d $(CURDIR)/dist/gunicorn 2>/dev/null)" TIDEGATE_TEST_CYCLES=10 \
		go test -count=1 -timeout 15m -v -run 'TestCountsAndCycles|TestBusyWorkers|TestTargetIs|TestCyclesUnderLoad|TestCeilingChanges' \
		./agent/gunicorn ./agent/passenger ./agent/phpfpm
	@$(MAKE) --no-print-directory test-moves test-nginx
	@echo "== app servers, ten times up and down"
	@TIDEGATE_TEST_CYCLES=10 scripts/test.sh -count=1 -timeout 10m -run Cycles ./agent/...

test-moves: test-deps ## servers up and down twenty times under load, on each HAProxy that test-matrix has fetched: two and a half minutes each
	@for h in haproxy $$(ls -d $(CURDIR)/dist/haproxy/*/haproxy 2>/dev/null); do \
		$$h -v | head -n 1; \
		TIDEGATE_TEST_HAPROXY=$$h TIDEGATE_TEST_MOVES=$(or $(MOVES),20) go test -count=1 -timeout 15m -v \
			-run 'TestMoves|TestNoServerIsGiven|TestTheDrainDeadline|TestServersMove|TestServersAreAdded|TestAddressesAre|TestSessionsAre' ./cmd/tidegate ./haproxy || exit 1; \
	done

# A program is found by its name: the folder of the nginx under test stands first in PATH.
test-nginx: test-deps ## nginx's traps in full (100 updates, a third of them bad, among somebody else's reloads, and a kill -9 at every step, with and without root's rights), then the include file's tests, and weights through DNS, on nginx 1.26 and 1.30 (from newer Debian suites)
	@TIDEGATE_NGINX_FULL=1 go test -count=1 -timeout 15m -v -run 'TestUpdatesGood|TestKilledAnywhere' ./nginxgen
	@scripts/versions.sh nginx dist/nginx
	@for nginx in $$(ls -d $(CURDIR)/dist/nginx/*/nginx 2>/dev/null); do \
		$$nginx -v; \
		PATH="$${nginx%/nginx}:$$PATH" go test -count=1 -timeout 15m ./nginxgen/... && \
		PATH="$${nginx%/nginx}:$$PATH" go test -count=1 -timeout 15m -v -run '$(or $(NGINX),DNS)' ./cmd/tidegate ./tests/e2e || exit 1; \
	done

e2e: test-deps ## only the end-to-end tests
	@scripts/test.sh -count=1 -timeout 12m ./tests/...

lint: ## gofmt, go vet, staticcheck
	@test -z "$$(gofmt -l .)" || { echo "gofmt wants these changed:"; gofmt -l .; exit 1; }
	@go vet ./...
	@go run $(STATICCHECK) ./...

fuzz: ## each fuzz target: a minute for the SPOE decoders, ten seconds for the others, about ten minutes in all (FUZZTIME=5s sets one for all)
	@scripts/fuzz.sh $(FUZZTIME)

bench: ## what the SPOE agent, the runtime API's client, nginx's include file and the node agent cost, beside a peer and a limit: about eight minutes (BENCH="-rounds 15" for longer, BENCH=-h for help)
	@go run ./tests/bench $(BENCH)
	@go test -run "^$$" -bench Decide -benchtime 30x ./core

promises: ## a million decisions on good and bad observations, with the race detector, and a million plans for the limiter: up to 20 minutes
	@TIDEGATE_DECISIONS=1000000 go test -race -count=1 -run TestPromises -timeout 15m ./core/sizing
	@TIDEGATE_PLANS=1000000 go test -count=1 -v -run TestBlastRadius -timeout 15m ./core

sensitivity: ## each default of the sizing policy halved and doubled on the built-in traces (SENSITIVITY="--seed 301" for another seed)
	@go build -o bin/tidegate ./cmd/tidegate
	@scripts/sensitivity.sh bin/tidegate $(SENSITIVITY)

simulate: build ## tidegate's decisions beside other autoscalers' on built-in traces (SIMULATE="--trace spike --report report.html")
	@bin/tidegate simulate $(SIMULATE)

clean: ## remove what make made
	@rm -rf bin dist
