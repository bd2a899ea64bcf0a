# Refractium. `make help` lists the targets; MODE=release|debug|asan|tsan|fuzz|cov chooses how to compile.
MODE    ?= release
VERSION := 0.1.0
PREFIX  ?= /usr/local
CC      ?= gcc
OUT     := build/$(MODE)

# Groups of features that can be left out, with the libraries they need.
WITH_METRICS ?= 1
WITH_GUARD   ?= 1
WITH_SYSTEMD ?= 1
WITH_REDIS   ?= 1
WITH_SANDBOX ?= 1
ifneq ($(filter asan tsan fuzz cov,$(MODE)),)
WITH_SANDBOX := 0 # their own libraries ask for more
endif

PKGS     := luajit libssl libcrypto libpcre2-8 libcares jansson ncursesw
ifeq ($(WITH_METRICS),1)
PKGS     += libmicrohttpd
else
CPPFLAGS += -DRX_WITHOUT_METRICS
endif
ifeq ($(WITH_SYSTEMD),1)
PKGS     += libsystemd
else
CPPFLAGS += -DRX_WITHOUT_SYSTEMD
endif
ifeq ($(WITH_SANDBOX),1)
PKGS     += libseccomp
else
CPPFLAGS += -DRX_WITHOUT_SANDBOX
endif
ifeq ($(WITH_REDIS),1)
PKGS     += hiredis
else
CPPFLAGS += -DRX_WITHOUT_REDIS
endif
ifeq ($(WITH_GUARD),1)
PKGS     += libnftables libmnl libnetfilter_conntrack
else
CPPFLAGS += -DRX_WITHOUT_GUARD
endif
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2
ifeq ($(CI),true)
WARN     += -Werror
endif
CPPFLAGS += -D_GNU_SOURCE -DRX_VERSION='"$(VERSION)"' -Icore -Icore/guard -I$(OUT) $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
CFLAGS_release := -O2 -g -fno-plt
CFLAGS_debug   := -O0 -g3
CFLAGS_asan    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
CFLAGS_tsan    := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
CFLAGS_fuzz    := -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined
CFLAGS_cov     := -O0 -g --coverage
ifeq ($(MODE),fuzz)
CC       := clang
endif
CFLAGS   += -std=gnu11 -fvisibility=hidden -pthread $(WARN) $(CFLAGS_$(MODE))
LDFLAGS  += -pthread -Wl,-z,relro,-z,now $(filter -fsanitize=address% -fsanitize=thread --coverage,$(CFLAGS_$(MODE)))
LDLIBS   += $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lev -lpcap -lm -ldl

SRC := $(wildcard core/*.c core/proto/*.c core/guard/*.c)
OBJ := $(SRC:%.c=$(OUT)/%.o)
LIB := $(filter-out $(OUT)/core/main.o,$(OBJ))
LUA := $(filter-out lua/refractium/docgen.lua lua/refractium/docman.lua,$(wildcard lua/refractium/*.lua lua/refractium/import/*.lua))
SHIPPED := $(wildcard scripts/protocols/*.lua) scripts/protocols/ORDER
BIN := $(if $(filter release,$(MODE)),build/refractium,$(OUT)/refractium)

.DEFAULT_GOAL := all
.PHONY: all run test deps install uninstall clean help format lint docs fuzz bench bench-identify bench-lua bench-compare bench-reload bench-scripts bench-udp bench-quic bench-sessions \
        test-unit test-lua test-e2e test-asan test-tsan check-headers check-docs

all: $(BIN) ## build (the default): build/refractium

$(BIN): $(OBJ)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(OUT)/core/%.o: core/%.c | $(OUT)/embed_list.h
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# Identifiers work on lengths that clients choose: a silent narrowing there is a bug.
$(OUT)/core/proto/%.o: WARN += -Wconversion
$(OUT)/core/embed.o: $(LUA) $(SHIPPED) core/abi.h refractium.lua core/web/dashboard.html core/guard/sync.lua

$(OUT)/embed_list.h: $(LUA) $(SHIPPED) Makefile
	@mkdir -p $(@D)
	@{ for f in $(LUA) $(SHIPPED); do n=$${f#lua/}; s=$$(echo $$n | tr './-' '___'); echo "X($$s, \"$$n\", \"$$f\")"; done; \
	   echo 'X(abi_h, "abi.h", "core/abi.h")'; echo 'X(refractium_lua, "refractium.lua", "refractium.lua")'; \
	   echo 'X(sync_lua, "sync.lua", "core/guard/sync.lua")'; \
	   echo 'X(dashboard_html, "dashboard.html", "core/web/dashboard.html")'; } > $@

-include $(OBJ:.o=.d)

run: ## install what is missing to build, build, and serve ./refractium.lua
	@sh packaging/deps.sh build
	@$(MAKE) --no-print-directory all
	@printf '%s\n' '' 'Serving ./refractium.lua. From a second terminal, try:' '' \
	  '    curl localhost:8080' '    ssh -p 8080 localhost' \
	  '    openssl s_client -connect localhost:8080 -servername a.test </dev/null' \
	  '    dig @localhost -p 8080 example.com' '' \
	  'Each shows what was recognised. Edit refractium.lua: it takes effect when you save it. Ctrl-C stops it.' ''
	@build/refractium -c refractium.lua

deps: ## install the packages that building and the tests need (Debian 12; says what)
	@sh packaging/deps.sh

test: deps ## everything: unit, Lua and end-to-end tests, then the sanitizer builds
	@sh tests/run.sh

# ---- unit tests: one program per tests/unit/test_*.c, linked with everything but main --------------------------
UNIT     := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
UNITHELP := $(filter-out tests/unit/test_%,$(wildcard tests/unit/*.c))
UNITBIN  := $(UNIT:%=$(OUT)/tests/%)
UNITOBJ  := $(UNITHELP:%.c=$(OUT)/%.o)

$(OUT)/tests/unit/%.o: tests/unit/%.c | $(OUT)/embed_list.h
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests/unit $(CFLAGS) -MMD -MP -c -o $@ $<

$(OUT)/tests/%: $(OUT)/tests/unit/%.o $(UNITOBJ) $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka -ljansson
.SECONDARY: $(UNIT:%=$(OUT)/tests/unit/%.o)
-include $(wildcard $(OUT)/tests/unit/*.d)

unit-bins: $(UNITBIN)
.PHONY: unit-bins

test-unit: unit-bins ## unit tests alone
	@sh tests/run.sh unit
test-lua: ## tests of the Lua runtime alone
	@sh tests/run.sh lua
test-e2e: all ## end-to-end tests with real clients and servers alone
	@sh tests/run.sh e2e
test-asan: ## unit and end-to-end tests under AddressSanitizer and UBSan
	@sh tests/run.sh asan
test-tsan: ## the same under ThreadSanitizer
	@sh tests/run.sh tsan

# ---- fuzzing: one harness per tests/fuzz/fuzz_*.c --------------------------------------------------------------
FUZZERS    := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SECONDS ?= 60

FUZZHELP     := tests/unit/athome.c tests/unit/identcheck.c tests/unit/quicmake.c

# Only with MODE=fuzz, which tests/fuzz/run.sh passes.
build/fuzz/%: tests/fuzz/%.c $(wildcard tests/fuzz/*.h) $(FUZZHELP) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests/fuzz -Itests/unit $(CFLAGS) -fsanitize=fuzzer,address,undefined -o $@ $< $(FUZZHELP) $(LIB) $(LDLIBS)

fuzz: ## fuzz every parser and the decider for FUZZ_SECONDS each
	@sh tests/fuzz/run.sh $(FUZZ_SECONDS)

# ---- making calls fail ---------------------------------------------------------------------------------------------
FAULT_SECONDS ?= 300

build/fault/fault.so: tests/fault/fault.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -Wall -Wextra -O1 -g -shared -fPIC -fno-optimize-sibling-calls -o $@ $<

fault: build/fault/fault.so ## every call that may fail fails once, under AddressSanitizer, for FAULT_SECONDS each way
	@$(MAKE) -s MODE=asan all
	@RX_BIN=build/asan/refractium python3 tests/fault/fault.py --seconds $(FAULT_SECONDS)
	@RX_BIN=build/asan/refractium python3 tests/fault/fault.py --start --seconds $(FAULT_SECONDS)
.PHONY: fault

# ---- stress: what takes minutes -----------------------------------------------------------------------------------------
HOSTILE_SECONDS ?= 10
RACES_SECONDS   ?= 600
SOAK_MINUTES    ?= 30

hostile: all ## attacks at scale, and what they cost other clients, for HOSTILE_SECONDS each
	@python3 tests/stress/hostile.py --seconds $(HOSTILE_SECONDS)
races: ## edits, admin, bans, drains and kills at once under ThreadSanitizer, bytes compared, for RACES_SECONDS
	@$(MAKE) -s MODE=tsan all
	@RX_BIN=build/tsan/refractium python3 tests/stress/races.py --seconds $(RACES_SECONDS)
soak: all ## real clients, edits and failures for SOAK_MINUTES; nothing may grow: build/soak/soak.svg
	@python3 tests/stress/soak.py --minutes $(SOAK_MINUTES)

coverage: ## what the tests run of the C sources, into docs/coverage.md (minutes; needs gcovr)
	@find build/cov -name '*.gcda' -delete 2>/dev/null || true
	@$(MAKE) -s MODE=cov all unit-bins
	@for t in $(UNITBIN:$(OUT)/%=build/cov/%); do timeout 300 $$t >/dev/null 2>&1 || echo "$$t failed"; done
	@RX_BIN=build/cov/refractium timeout 1800 python3 -m pytest -q -n 3 --dist loadfile tests/e2e | tail -n 3
	@gcovr -r . --object-directory build/cov -f core/ --exclude-unreachable-branches --json-summary build/cov/summary.json build/cov
	@python3 tests/coverage.py build/cov/summary.json
.PHONY: hostile races soak coverage

# ---- measuring ----------------------------------------------------------------------------------------------------
bench: bench-identify bench-lua bench-quic bench-sessions bench-compare bench-udp ## all measurements
bench-identify: all $(OUT)/bench/identify ## nanoseconds per identification
	@$(OUT)/bench/identify
bench-lua: all $(OUT)/bench/lua ## what functions of the config cost
	@$(OUT)/bench/lua
bench-quic: all $(OUT)/bench/quic ## what a QUIC server name costs
	@$(OUT)/bench/quic
bench-sessions: all $(OUT)/bench/sessions ## what an event of sessions and a line of Xray's log cost
	@$(OUT)/bench/sessions
bench-compare: all $(OUT)/bench/loadgen ## beside HAProxy, nginx and sslh, in a network namespace (root)
	@python3 bench/compare/run.py --loadgen $(OUT)/bench/loadgen $(BENCH_ARGS)
bench-udp: all $(OUT)/bench/loadgen ## UDP beside nginx, in a network namespace (root)
	@python3 bench/compare/udp.py $(BENCH_ARGS)
bench-scripts: all $(OUT)/bench/loadgen ## real connections, decided in C and by a Lua function (root)
	@python3 bench/compare/lua.py --refractium build/refractium $(BENCH_ARGS)
bench-reload: all $(OUT)/bench/loadgen ## what an edit costs: who connects meanwhile, who is connected, and loading
	@python3 bench/compare/reload.py $(BENCH_ARGS)

$(OUT)/bench/identify $(OUT)/bench/lua $(OUT)/bench/quic $(OUT)/bench/sessions: $(OUT)/bench/%: bench/micro/%.c tests/unit/athome.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests/unit $(CFLAGS) $(LDFLAGS) -o $@ $< tests/unit/athome.c $(LIB) $(LDLIBS)
$(OUT)/bench/loadgen: $(wildcard bench/compare/*.c bench/compare/*.h)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.c,$^) -lm

# ---- housekeeping ---------------------------------------------------------------------------------------------------
docs: ## regenerate docs/reference/config.md and the editor annotations from the schema
	luajit lua/refractium/docgen.lua docs/reference/config.md lua/refractium/meta/refractium.lua
# Not kept in the tree: it follows from the schema.
build/refractium.lua.5: lua/refractium/docman.lua lua/refractium/docgen.lua lua/refractium/schema.lua lua/refractium/builtin.lua
	@mkdir -p $(@D)
	luajit lua/refractium/docman.lua $(VERSION) >$@.new && mv $@.new $@
check-headers: ## every header compiles on its own (abi.h after base.h, by design)
	@for h in core/*.h core/proto/*.h core/guard/*.h; do \
	   printf '#include "base.h"\n#include "%s"\n' "$${h#core/}" | $(CC) $(CPPFLAGS) $(CFLAGS) -xc -fsyntax-only - || exit 1; done
format: ## clang-format everything
	clang-format -i $$(git ls-files '*.c' '*.h')
lint: ## clang-tidy and luacheck
	clang-tidy --quiet $(SRC) -- $(CPPFLAGS) $(CFLAGS)
	luacheck --quiet lua scripts refractium.lua

install: all build/refractium.lua.5 ## install under PREFIX (DESTDIR is honoured)
	install -Dm755 build/refractium $(DESTDIR)$(PREFIX)/bin/refractium
	install -Dm644 packaging/man/refractium.1 $(DESTDIR)$(PREFIX)/share/man/man1/refractium.1
	install -Dm644 build/refractium.lua.5 $(DESTDIR)$(PREFIX)/share/man/man5/refractium.lua.5
	install -Dm644 refractium.lua $(DESTDIR)$(PREFIX)/share/doc/refractium/refractium.lua
	install -Dm644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/refractium/LICENSE
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	for u in refractium refractium-guard; do \
	   sed 's,/usr/bin/,$(PREFIX)/bin/,' packaging/systemd/$$u.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/$$u.service; done
	install -Dm644 packaging/systemd/refractium.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/refractium.socket
	install -Dm644 packaging/completions/refractium.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/refractium
	install -Dm644 packaging/completions/_refractium $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_refractium
	install -Dm644 packaging/completions/refractium.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/refractium.fish
uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/refractium $(DESTDIR)$(PREFIX)/share/man/man1/refractium.1 \
	   $(DESTDIR)$(PREFIX)/share/man/man5/refractium.lua.5 \
	   $(DESTDIR)$(PREFIX)/lib/systemd/system/refractium.service \
	   $(DESTDIR)$(PREFIX)/lib/systemd/system/refractium-guard.service \
	   $(DESTDIR)$(PREFIX)/lib/systemd/system/refractium.socket \
	   $(DESTDIR)$(PREFIX)/share/bash-completion/completions/refractium \
	   $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_refractium \
	   $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/refractium.fish
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/refractium

DEB_OUT ?= build
deb: all build/refractium.lua.5 ## build/refractium_VERSION_ARCH.deb
	@sh packaging/deb/build.sh $(VERSION) $(DEB_OUT)
.PHONY: deb

clean: ## remove build/
	rm -rf build
help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 18
