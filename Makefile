# Everything that is built, tested and installed goes through here. `make` alone lists the targets.
#
# PROFILE=dev builds without optimisation (faster to build, slower to run); the default is release.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PREFIX ?= /usr
DESTDIR ?=
PROFILE ?= release

# The bus reads policies in two places only.
BUS_POLICY = $(if $(filter /usr,$(PREFIX)),/usr/share,/etc)/dbus-1/system.d
# What `make install` made, for `make uninstall`.
RECORD = $(PREFIX)/share/$(NAME)/installed

NAME := miniascape
VERSION := $(shell sed -n 's/^version *= *"\(.*\)"/\1/p' Cargo.toml | head -n 1)
TARGET := $(or $(CARGO_TARGET_DIR),target)
PROFILE_DIR := $(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
PROGRAM := $(TARGET)/$(PROFILE_DIR)/$(NAME)
# Packages of a build without optimisation are for tests only; they stand apart so that no one ships them.
DIST := dist$(if $(filter release,$(PROFILE)),,/$(PROFILE))
STAGE := $(DIST)/stage
# `~` sorts before the release, as in 0.2.0~rc.1, and neither format wants a `-` there.
PACKAGE_VERSION := $(subst -,~,$(VERSION))
DEB := $(DIST)/$(NAME)_$(PACKAGE_VERSION)-1_amd64.deb
RPM := $(DIST)/$(NAME)-$(PACKAGE_VERSION)-1.x86_64.rpm
# The reference networks: nothing is built, so they are the same for every profile.
REFDATA_DEB := dist/$(NAME)-refdata_$(PACKAGE_VERSION)-1_all.deb
REFDATA_RPM := dist/$(NAME)-refdata-$(PACKAGE_VERSION)-1.noarch.rpm
LICENCES := dist/licences
# The stripped program is to stay below this many bytes.
LARGEST := 12000000

# Asked when a recipe runs, not before: `setup` may just have installed it.
WITH_CARGO = dir=$$(packaging/setup --cargo) && PATH="$$dir:$$PATH"
CARGO = $(WITH_CARGO) cargo
# With the crates that `make dist` packs no network is needed, and none is used.
VENDORED = $(if $(wildcard vendor/cargo.toml),--config vendor/cargo.toml --offline)
# A program that is to be shipped is the same wherever it is built. The crates have to be there before their place is known.
SHIPPED = $(if $(filter release,$(PROFILE)),{ $(CARGO) fetch --quiet --locked --target x86_64-unknown-linux-gnu $(VENDORED) && \
    CARGO_ENCODED_RUSTFLAGS=$$(packaging/rustflags) && export CARGO_ENCODED_RUSTFLAGS; } &&)

# Every script that is ours.
SCRIPTS = $(shell grep -d skip -l '^\#!/bin/sh' packaging/*)

.PHONY: help setup build demo test test-full test-rings test-images test-packages test-lab test-system bench fuzz lint fmt \
    install uninstall tree stage dist deb rpm srpm deb-source lint-packages lint-sources rebuild-sources deny clean

help: ## list the targets
	@printf 'miniascape %s\n\n' '$(VERSION)'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'
	@printf '\nVariables: PROFILE=release|dev  PREFIX=%s  DESTDIR=  (see the head of the Makefile)\n' '$(PREFIX)'

setup: ## install what building and testing need (asks first on a terminal)
	@packaging/setup

build: ## build the program
	$(SHIPPED) $(CARGO) build --locked $(VENDORED) --profile $(PROFILE)

demo: setup ## set up, build, and show the main job on two private hosts
	@$(MAKE) deb rpm
	@$(SHIPPED) $(CARGO) build --locked --profile $(PROFILE) --example demo
	@set -- $(TARGET)/$(PROFILE_DIR)/examples/demo --program $(PROGRAM) --deb $(DEB) --rpm $(RPM); \
	if packaging/in-machine --needed; then \
	    echo 'Namespaces are refused here, so the demo runs in an emulated machine, which takes about a quarter of an hour.'; \
	    "$$1" --lab-cache && MINIASCAPE_TEST_PATIENCE=10 packaging/in-machine -- "$$@"; \
	else "$$@"; fi

test: setup ## set up, build, check the packages with lintian and rpmlint, and run test rings 1 to 3
	@$(MAKE) lint-packages PROFILE=dev
	@$(MAKE) test-rings PROFILE=dev

# The rings alone, for those who know that everything is in place.
test-rings:
	@$(WITH_CARGO) MINIASCAPE_TEST_DEB=$(abspath $(DEB)) MINIASCAPE_TEST_RPM=$(abspath $(RPM)) packaging/run-rings

test-images: ## compare the image engine with qemu-img over 2,000 random images (half an hour)
	@$(WITH_CARGO) MINIASCAPE_TEST_IMAGES=2000 cargo test --locked --test image

test-packages: ## packages over 4 GiB, and killed, cut and flipped at every place (half an hour, 10 GB of disk)
	@$(WITH_CARGO) MINIASCAPE_TEST_FULL=1 cargo test --locked --test package -- --include-ignored

test-full: test ## everything: test, test-images, test-packages and test-lab (hours)
	@$(MAKE) test-images test-packages test-lab

test-lab: setup ## the lab with its long products: every kill, sealing, each package manager alone (an hour or two)
	@$(MAKE) deb rpm PROFILE=dev
	@$(WITH_CARGO) MINIASCAPE_TEST_FULL=1 MINIASCAPE_TEST_DEB=$(abspath dist/dev/$(notdir $(DEB))) \
	    MINIASCAPE_TEST_RPM=$(abspath dist/dev/$(notdir $(RPM))) cargo test --locked --test lab

FUZZ_SECONDS ?= 120

fuzz: ## feed the readers of definitions, domain XML and qcow2 with rubbish, FUZZ_SECONDS=120 for each (needs a C++ compiler)
	@$(WITH_CARGO) fuzz/run $(FUZZ_SECONDS)

test-system: setup ## test ring 4: the packages on Debian booted with real systemd, in containers (root; minutes, the first time)
	@$(MAKE) deb rpm PROFILE=dev
	@$(WITH_CARGO) packaging/run-rings system

bench: ## measure speed beside other tools (needs libyaml-dev, 12 GB of disk; figures, no verdicts)
	$(CARGO) bench --locked

lint: ## check formatting, clippy and the shell scripts
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	shellcheck $(SCRIPTS) packaging/debian/*.p* .ci/run fuzz/run

fmt: ## format the sources
	$(CARGO) fmt

install: ## install an already built program below DESTDIR and PREFIX
	@rm -rf $(DIST)/tree
	@$(MAKE) -s tree DESTDIR=$(abspath $(DIST)/tree) PREFIX='$(PREFIX)' PROFILE=$(PROFILE)
	@packaging/install-tree $(DIST)/tree '$(DESTDIR)/' '$(RECORD)'
	@rm -rf $(DIST)/tree
	@$(if $(DESTDIR),,printf '%s\n' 'installed; now, where systemd runs: systemd-sysusers $(NAME).conf && systemd-tmpfiles --create $(NAME).conf && systemctl daemon-reload')

uninstall: ## take away what `make install` with the same DESTDIR and PREFIX made; networks, guests and settings stay
	@packaging/install-tree --remove '$(DESTDIR)/' '$(RECORD)'

# What is installed, and nothing of how: packages are made of this.
tree:
	@test -x $(PROGRAM) || { echo 'make install: $(PROGRAM) is not built; run "make build" first (as the user who builds)' >&2; exit 1; }
	install -d '$(DESTDIR)$(PREFIX)/bin'
	install -m 0755 $(PROGRAM) '$(DESTDIR)$(PREFIX)/bin/$(NAME)'
	install -d '$(DESTDIR)$(PREFIX)/lib/systemd/system'
	for unit in packaging/systemd/*.service; do \
	    sed 's|/usr/bin/$(NAME)|$(PREFIX)/bin/$(NAME)|' "$$unit" > '$(DESTDIR)$(PREFIX)/lib/systemd/system/'"$${unit##*/}" || exit 1; \
	    chmod 0644 '$(DESTDIR)$(PREFIX)/lib/systemd/system/'"$${unit##*/}" || exit 1; done
	install -d '$(DESTDIR)$(PREFIX)/lib/systemd/system/multi-user.target.wants'
	ln -sf ../$(NAME)-pending.service '$(DESTDIR)$(PREFIX)/lib/systemd/system/multi-user.target.wants/$(NAME)-pending.service'
	install -D -m 0644 packaging/sysusers.d/$(NAME).conf '$(DESTDIR)$(PREFIX)/lib/sysusers.d/$(NAME).conf'
	install -D -m 0644 packaging/tmpfiles.d/$(NAME).conf '$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/$(NAME).conf'
	install -D -m 0644 packaging/apparmor/$(NAME)-dnsmasq '$(DESTDIR)$(PREFIX)/share/$(NAME)/apparmor/$(NAME)-dnsmasq'
	install -d '$(DESTDIR)$(PREFIX)/share/$(NAME)/selinux'
	install -m 0644 packaging/selinux/$(NAME).te packaging/selinux/$(NAME).fc '$(DESTDIR)$(PREFIX)/share/$(NAME)/selinux/'
	install -D -m 0644 packaging/dbus/org.miniascape.dnsmasq.conf '$(DESTDIR)$(BUS_POLICY)/org.miniascape.dnsmasq.conf'
	install -d '$(DESTDIR)$(PREFIX)/share/$(NAME)/networks'
	for file in networks/*.yaml; do test ! -e "$$file" || install -m 0644 "$$file" '$(DESTDIR)$(PREFIX)/share/$(NAME)/networks/' || exit 1; done
	$(PROGRAM) --quiet man '$(DESTDIR)$(PREFIX)/share/man/man1'
	install -d '$(DESTDIR)$(PREFIX)/share/man/man5'
	mv '$(DESTDIR)$(PREFIX)/share/man/man1/'*.5 '$(DESTDIR)$(PREFIX)/share/man/man5/'
	install -d '$(DESTDIR)$(PREFIX)/share/$(NAME)/schemas'
	$(PROGRAM) schema | awk 'NR > 1 { print $$1 }' | while read -r schema; do \
	    $(PROGRAM) schema "$$schema" > '$(DESTDIR)$(PREFIX)/share/$(NAME)/schemas/'"$$schema.json" || exit 1; done
	install -d '$(DESTDIR)$(PREFIX)/share/bash-completion/completions' '$(DESTDIR)$(PREFIX)/share/zsh/vendor-completions' '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d'
	$(PROGRAM) completions bash > '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/$(NAME)'
	$(PROGRAM) completions zsh > '$(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_$(NAME)'
	$(PROGRAM) completions fish > '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/$(NAME).fish'
	install -d '$(DESTDIR)$(PREFIX)/share/doc/$(NAME)/docs'
	install -m 0644 README.md CHANGELOG.md CONTRIBUTING.md LICENSE-MIT LICENSE-APACHE '$(DESTDIR)$(PREFIX)/share/doc/$(NAME)/'
	install -m 0644 docs/*.md '$(DESTDIR)$(PREFIX)/share/doc/$(NAME)/docs/'

# The tree that both packages are made from.
stage: build
	@rm -rf $(STAGE)
	@$(MAKE) -s tree DESTDIR=$(abspath $(STAGE)) PREFIX=/usr PROFILE=$(PROFILE)
	@strip $(STAGE)/usr/bin/$(NAME)
	@packaging/check-program $(STAGE)/usr/bin/$(NAME) $(if $(filter release,$(PROFILE)),$(LARGEST) '$(CURDIR)')

deb: stage $(LICENCES)/copyright ## make the Debian packages in dist/
	@$(if $(filter release,$(PROFILE)),,DPKG_DEB_COMPRESSOR_TYPE=gzip DPKG_DEB_COMPRESSOR_LEVEL=1) packaging/build-deb $(STAGE) $(VERSION) $(LICENCES)/copyright $(DIST) dist

rpm: stage $(LICENCES)/provides $(LICENCES)/notices ## make the RPM packages in dist/
	@packaging/build-rpm $(STAGE) $(VERSION) $(LICENCES) $(DIST) dist

# The licences of the crates that the program is made of, as the packages have them.
$(LICENCES)/copyright: Cargo.lock packaging/crates packaging/debian/copyright
	@mkdir -p $(@D)
	@{ cat packaging/debian/copyright && packaging/crates debian; } >$@

$(LICENCES)/provides $(LICENCES)/notices: Cargo.lock packaging/crates
	@mkdir -p $(@D)
	@packaging/crates $(@F) >$@

lint-packages: deb rpm ## make the packages and see what lintian and rpmlint say
	@packaging/lint-packages $(DEB) $(REFDATA_DEB) $(RPM) $(REFDATA_RPM)

lint-sources: srpm deb-source ## the same for the source packages
	@packaging/lint-packages dist/$(NAME)_$(PACKAGE_VERSION)-1.dsc dist/$(NAME)-$(PACKAGE_VERSION)-1.src.rpm

rebuild-sources: rpm srpm deb-source ## build the source packages to the end with no network, and compare (half an hour)
	@packaging/rebuild-sources $(VERSION) dist

deny: ## hold the crates against deny.toml: doubles, licences, sources (needs cargo-deny: cargo install --locked cargo-deny)
	@$(WITH_CARGO) cargo deny --version >/dev/null 2>&1 || { echo 'make deny: cargo-deny is missing; install it: cargo install --locked cargo-deny' >&2; exit 4; }
	$(CARGO) deny --locked --offline check bans licenses sources

dist: ## make the source archives in dist/: this source, and the crates that it is built with
	@packaging/make-dist $(VERSION) dist

srpm: dist $(LICENCES)/provides ## make the source RPM in dist/; it builds without a network
	@packaging/build-srpm $(VERSION) $(LICENCES) dist

deb-source: dist ## make Debian's source package in dist/; it builds without a network
	@packaging/build-deb-source $(VERSION) dist

clean: ## remove what was built
	rm -rf dist
	@if dir=$$(packaging/setup --cargo 2>/dev/null); then PATH="$$dir:$$PATH" cargo clean; else rm -rf $(TARGET); fi
