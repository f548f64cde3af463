package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
)

func TestExitCodes(t *testing.T) {
	url := newFakeService().start(t)
	for name, tc := range map[string]struct {
		args   []string
		code   int
		stderr string
	}{
		"success":           {[]string{"team", "list"}, 0, ""},
		"version":           {[]string{"version"}, 0, ""},
		"help":              {nil, 0, ""},
		"help of a command": {[]string{"drain", "create", "--help"}, 0, ""},
		"refused":           {[]string{"drain", "show", "drn_none"}, 1, `auditdrain: no drain "drn_none"`},
		"unknown command":   {[]string{"dran", "list", "--team", "acme"}, 2, `auditdrain: auditdrain has no command "dran": did you mean "drain"?`},
		"unknown in group":  {[]string{"drain", "frobnicate"}, 2, `auditdrain: auditdrain drain has no command "frobnicate": use one of attempts, create, delete,`},
		"unknown shell":     {[]string{"completion", "bsh"}, 2, `auditdrain: auditdrain completion has no command "bsh": did you mean "bash"?`},
		"group":             {[]string{"token"}, 2, "auditdrain: auditdrain token needs a command: create, list, revoke"},
		"too few arguments": {[]string{"drain", "show"}, 2, "auditdrain: accepts 1 arg(s), received 0"},
		"too many":          {[]string{"team", "list", "x"}, 2, `auditdrain: unknown command "x" for "auditdrain team list"`},
		"required flag":     {[]string{"team", "create"}, 2, `auditdrain: required flag(s) "slug" not set`},
		"wrong value":       {[]string{"team", "list", "-o", "yaml"}, 2, `auditdrain: invalid argument "yaml" for "-o, --output" flag: use one of table, json`},
		"no token":          {[]string{"team", "list", "--token", ""}, 2, "auditdrain: no token: use AUDITDRAIN_TOKEN or --token"},
		"broken URL":        {[]string{"team", "list", "--url", "localhost:8080"}, 2, `auditdrain: server URL "localhost:8080" is not allowed: use http://host or https://host`},
	} {
		t.Run(name, func(t *testing.T) {
			r := cli(t, url, "", tc.args...)
			if r.code != tc.code {
				t.Errorf("code %d, want %d", r.code, tc.code)
			}
			if !strings.HasPrefix(r.stderr, tc.stderr) || strings.Count(r.stderr, "\n") > 1 {
				t.Errorf("stderr %q, want the one line %q", r.stderr, tc.stderr)
			}
			if (tc.code == 0) != (r.stdout != "") {
				t.Errorf("stdout %q", r.stdout)
			}
		})
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := cliWith(ctx, []string{"AUDITDRAIN_URL=" + newFakeService().start(t), "AUDITDRAIN_TOKEN=" + testToken}, "", "team", "list")
	if r.code != 1 || !strings.Contains(r.stderr, "context canceled") {
		t.Errorf("%+v", r)
	}
}

func TestPrintError(t *testing.T) {
	index := 4
	many := make([]auditdrain.Problem, 25)
	for i := range many {
		many[i] = auditdrain.Problem{Field: "f", Message: fmt.Sprint(i)}
	}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"plain": {errors.New("no"), "auditdrain: no\n"},
		"one problem, said already": {auditdrain.FieldErrors([]auditdrain.Problem{{Field: "name", Message: "missing"}}),
			"auditdrain: name: missing\n"},
		"two problems": {auditdrain.FieldErrors([]auditdrain.Problem{{Field: "name", Message: "missing"}, {Field: "slug", Message: "bad"}}),
			"auditdrain: name: missing (and 1 more, see details)\n  name: missing\n  slug: bad\n"},
		"wrapped, with index": {fmt.Errorf("x: %w", &auditdrain.Error{Message: "refused", Details: []auditdrain.Problem{{Index: &index, Field: "id", Message: "bad"}}}),
			"auditdrain: x: refused\n  event 4: id: bad\n"},
		"ids":          {&auditdrain.Error{Message: "conflict", IDs: []string{"a", "b"}}, "auditdrain: conflict\n  id a\n  id b\n"},
		"two lines":    {errors.New("a\nb"), "auditdrain: a b\n"},
		"steers":       {errors.New("a\x1b[2Jb\u202e"), "auditdrain: a\uFFFD[2Jb\uFFFD\n"},
		"long details": {&auditdrain.Error{Message: "bad", Details: many}, "auditdrain: bad\n" + firstProblems(20) + "  … and 5 more\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			printError(&b, tc.err)
			if b.String() != tc.want {
				t.Errorf("got\n%swant\n%s", b.String(), tc.want)
			}
		})
	}
}

func firstProblems(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  f: %d\n", i)
	}
	return b.String()
}

func TestVersionLine(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef0123"}, {Key: "vcs.modified", Value: "true"},
		{Key: "GOOS", Value: "linux"}, {Key: "GOARCH", Value: "amd64"},
	}}
	if got, want := versionLine(info), "auditdrain v1.2.3 0123456789ab modified go1.26.8 linux/amd64"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
