package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// envTree is a program with flags of every kind, that notes what it got.
func envTree(got *map[string]string) *cobra.Command {
	note := func(cmd *cobra.Command, _ []string) error {
		*got = map[string]string{}
		cmd.Flags().VisitAll(func(f *pflag.Flag) { (*got)[f.Name] = f.Value.String() })
		return nil
	}
	leaf := &cobra.Command{Use: "serve", Args: cobra.NoArgs, RunE: note}
	leaf.Flags().String("data-dir", "default", "")
	leaf.Flags().Duration("wait", 0, "")
	leaf.Flags().Bool("yes", false, "")
	must(leaf.MarkFlagRequired("wait"))
	other := &cobra.Command{Use: "other", RunE: note}
	other.Flags().String("elsewhere", "", "")
	group := newGroup("group", "", leaf)
	group.PersistentFlags().String("url", "http://default", "")
	root := newGroup("auditdrain", "", group, other)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(flagError)
	return root
}

func runTree(t *testing.T, environ []string, args ...string) (map[string]string, error) {
	t.Helper()
	var got map[string]string
	root := envTree(&got)
	root.SetArgs(args)
	root.SetOut(new(bytes.Buffer))
	root.SetErr(new(bytes.Buffer))
	bindEnvironment(root, environ)
	err := root.ExecuteContext(t.Context())
	return got, err
}

func TestFlagBeforeVariableBeforeDefault(t *testing.T) {
	for name, tc := range map[string]struct {
		environ []string
		args    []string
		flag    string
		want    string
	}{
		"default":                   {nil, nil, "data-dir", "default"},
		"variable":                  {[]string{"AUDITDRAIN_DATA_DIR=a=b"}, nil, "data-dir", "a=b"},
		"flag":                      {[]string{"AUDITDRAIN_DATA_DIR=env"}, []string{"--data-dir", "flag"}, "data-dir", "flag"},
		"flag that is the default":  {[]string{"AUDITDRAIN_DATA_DIR=env"}, []string{"--data-dir", "default"}, "data-dir", "default"},
		"empty variable is none":    {[]string{"AUDITDRAIN_DATA_DIR="}, nil, "data-dir", "default"},
		"flag of the group":         {[]string{"AUDITDRAIN_URL=http://env"}, nil, "url", "http://env"},
		"bool":                      {[]string{"AUDITDRAIN_YES=1"}, nil, "yes", "true"},
		"bool off by flag":          {[]string{"AUDITDRAIN_YES=true"}, []string{"--yes=false"}, "yes", "false"},
		"without a flag":            {[]string{"AUDITDRAIN_OPERATOR_TOKEN=x"}, nil, "data-dir", "default"},
		"other prefix":              {[]string{"AUDITDRAINAGE=x", "AWS_REGION=y"}, nil, "data-dir", "default"},
		"Kubernetes service":        {[]string{"AUDITDRAIN_SERVICE_HOST=10.0.0.1", "AUDITDRAIN_SERVICE_PORT=8080", "AUDITDRAIN_SERVICE_PORT_HTTP=8080", "AUDITDRAIN_PORT=tcp://10.0.0.1:8080", "AUDITDRAIN_PORT_8080_TCP=tcp://10.0.0.1:8080", "AUDITDRAIN_PORT_8080_TCP_ADDR=10.0.0.1"}, nil, "data-dir", "default"},
		"Kubernetes service, named": {[]string{"AUDITDRAIN_WEB_SERVICE_HOST=10.0.0.1", "AUDITDRAIN_WEB_PORT_80_TCP_PROTO=tcp"}, nil, "data-dir", "default"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"group", "serve"}, tc.args...)
			got, err := runTree(t, append(tc.environ, "AUDITDRAIN_WAIT=3s"), args...)
			if err != nil {
				t.Fatal(err)
			}
			if got[tc.flag] != tc.want {
				t.Errorf("--%s is %q, want %q", tc.flag, got[tc.flag], tc.want)
			}
			if got["wait"] != "3s" {
				t.Errorf("the required flag is %q, want it from its variable", got["wait"])
			}
		})
	}
}

func TestEnvironmentRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		environ []string
		args    []string
		want    string
	}{
		"near one":         {[]string{"AUDITDRAIN_DATADIR=x"}, nil, "environment variable AUDITDRAIN_DATADIR is not known: did you mean AUDITDRAIN_DATA_DIR?"},
		"swapped letters":  {[]string{"AUDITDRAIN_ULR=x"}, nil, "did you mean AUDITDRAIN_URL?"},
		"lower case":       {[]string{"AUDITDRAIN_url=x"}, nil, "did you mean AUDITDRAIN_URL?"},
		"like nothing":     {[]string{"AUDITDRAIN_COLOUR=x"}, nil, "AUDITDRAIN_COLOUR is not known: auditdrain serve --help"},
		"of one call":      {[]string{"AUDITDRAIN_ELSEWHERE=x"}, nil, "AUDITDRAIN_ELSEWHERE is not known"},
		"prefix only":      {[]string{"AUDITDRAIN_=x"}, nil, "AUDITDRAIN_ is not known"},
		"help":             {[]string{"AUDITDRAIN_HELP=x"}, nil, "AUDITDRAIN_HELP is not known"},
		"port, not a link": {[]string{"AUDITDRAIN_PORT=9000"}, nil, "AUDITDRAIN_PORT is not known"},
		"wrong value":      {[]string{"AUDITDRAIN_WAIT=soon"}, nil, `AUDITDRAIN_WAIT: invalid value "soon"`},
		"unknown flag":     {nil, []string{"--data-dri", "x"}, "unknown flag: --data-dri: did you mean --data-dir?"},
		"flag far off":     {nil, []string{"--colour"}, "unknown flag: --colour, see auditdrain group serve --help"},
		"short flag":       {nil, []string{"-q"}, "unknown shorthand flag"},
		"flag's value":     {nil, []string{"--wait", "soon"}, `invalid argument "soon" for "--wait" flag`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := runTree(t, tc.environ, append([]string{"group", "serve"}, tc.args...)...)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
			if _, ok := err.(usageError); !ok {
				t.Errorf("%T is not a usage error", err)
			}
		})
	}
}

// Variables must not take away what cobra notes of a flag.
func TestRequiredFlagWithoutItsVariable(t *testing.T) {
	_, err := runTree(t, nil, "group", "serve")
	if err == nil || !strings.Contains(err.Error(), `required flag(s) "wait" not set`) {
		t.Errorf("got %v, want an error about the required flag", err)
	}
}

// What holds for every command of the real program, whoever wrote it.
func TestEveryCommand(t *testing.T) {
	root := newRootCommand()
	bindEnvironment(root, nil)
	for cmd := range allCommands(root) {
		if cmd != root && cmd.Name() != "help" && (cmd.PersistentPreRunE != nil || cmd.PersistentPreRun != nil) {
			t.Errorf("%s has a PersistentPreRun of its own, so that its flags get no variables", cmd.CommandPath())
		}
		if cmd.Short == "" {
			t.Errorf("%s has no description", cmd.CommandPath())
		}
		if cmd.Run == nil && cmd.RunE == nil {
			t.Errorf("%s cannot be run, so that what is unknown below it is no error", cmd.CommandPath())
		}
		for flag := range ownFlags(cmd) {
			want := 0
			if hasVariable(cmd, flag) {
				want = 1
			}
			if n := strings.Count(flag.Usage, "[$"+envName(flag.Name)+"]"); n != want {
				t.Errorf("%s --%s names its variable %d times, want %d: %q", cmd.CommandPath(), flag.Name, n, want, flag.Usage)
			}
			if slices.Contains(withoutFlag, envName(flag.Name)) {
				t.Errorf("%s --%s has a variable that must have no flag", cmd.CommandPath(), flag.Name)
			}
		}
	}
}

func TestEveryFlagTakesItsVariable(t *testing.T) {
	paths := map[string][]string{}
	for cmd := range allCommands(newRootCommand()) {
		for flag := range ownFlags(cmd) {
			if !hasVariable(cmd, flag) {
				continue
			}
			paths[flag.Name] = strings.Fields(cmd.CommandPath())[1:]
		}
	}
	for name, path := range paths {
		root := newRootCommand()
		bindEnvironment(root, nil)
		cmd, _, err := root.Find(path)
		if err != nil {
			t.Fatal(err)
		}
		// Only values matter here, so nothing is run.
		cmd.InheritedFlags()
		flag := cmd.Flag(name)
		if flag == nil {
			t.Fatalf("%v has no --%s", path, name)
		}
		value := map[string]string{"bool": "true", "int": "7", "duration": "7s", "time": "7h", "float64": "7", "int64": "7", "uint64": "7"}[flag.Value.Type()]
		if c, ok := flag.Value.(*choice); ok {
			value = c.allowed[0]
		} else if flag.Value.Type() == "" { // one that reads text of its own
			value = flag.DefValue
		} else if value == "" {
			value = "some text"
		}
		if err := applyEnvironment(cmd.Flags(), map[string]string{envName(name): value}); err != nil {
			t.Error(err)
		}
		if !flag.Changed {
			t.Errorf("%v --%s did not take %s=%s", path, name, envName(name), value)
		}
	}
}

func TestCompletion(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"encoding":   {[]string{"drain", "create", "--encoding", ""}, []string{"json", "ndjson", ":4"}},
		"encryption": {[]string{"drain", "update", "--encryption", ""}, []string{"none", "AES256", "aws:kms", "aws:kms:dsse", ":4"}},
		"object-acl": {[]string{"drain", "create", "--object-acl", ""}, []string{"none", "private", "bucket-owner-read", "bucket-owner-full-control", ":4"}},
		"output":     {[]string{"team", "list", "-o", ""}, []string{"table", "json", ":4"}},
		"role":       {[]string{"token", "create", "--role", ""}, []string{"owner", "viewer", "producer", "operator", ":4"}},
		"command":    {[]string{"drain", "pa"}, []string{"pause\t", ":4"}},
		"file":       {[]string{"events", "send", ""}, []string{":0"}},
	} {
		t.Run(name, func(t *testing.T) {
			// Also with a setting that is not right yet.
			r := cliWith(context.Background(), []string{"AUDITDRAIN_NONSENSE=1"}, "", append([]string{"__complete"}, tc.args...)...)
			if r.code != 0 {
				t.Fatalf("code %d: %s", r.code, r.stderr)
			}
			lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
			if !slices.EqualFunc(lines, tc.want, strings.HasPrefix) {
				t.Errorf("got %q, want %q", lines, tc.want)
			}
		})
	}
}

func TestClosest(t *testing.T) {
	candidates := []string{"AUDITDRAIN_URL", "AUDITDRAIN_TOKEN", "AUDITDRAIN_WRITER_ROLE_ARN", "AUDITDRAIN_DATA"}
	for name, want := range map[string]string{
		"AUDITDRAIN_TOKN":           "AUDITDRAIN_TOKEN",
		"AUDITDRAIN_TOEKN":          "AUDITDRAIN_TOKEN",
		"AUDITDRAIN_WRITERROLE_ARN": "AUDITDRAIN_WRITER_ROLE_ARN",
		"AUDITDRAIN_DATE":           "AUDITDRAIN_DATA",
		"AUDITDRAIN_X":              "",
		"AUDITDRAIN_PASSWORD":       "",
	} {
		if got, _ := closest(name, candidates); got != want {
			t.Errorf("closest(%q) = %q, want %q", name, got, want)
		}
	}
}
