// Command auditdrain is the whole product in one binary: the service (serve),
// the same with everything around it on one machine (demo), and the command
// line for a running service.
//
// Results go to stdout, everything else to stderr. It exits with 0 when it
// did what it was asked, with 1 when it could not, and with 2 when it was
// asked wrongly and did nothing. verify has further codes, for what it found.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second signal ends the process at once
	code := run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program without the process around it.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(append([]string{}, args...)) // cobra takes nil for os.Args
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)

	bindEnvironment(root, environ)
	started := watchStart(root)

	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	printError(stderr, err)
	var usage usageError
	if errors.As(err, &usage) || !*started {
		return 2
	}
	var coded codedError
	if errors.As(err, &coded) {
		return coded.code
	}
	return 1
}

// codedError is the error of a command that did what it was asked, and tells what
// came of it by what the program exits with.
type codedError struct {
	error
	code int
}

func newRootCommand() *cobra.Command {
	root := newGroup("auditdrain", "Deliver audit log events to each team's own S3 bucket",
		newServeCommand(),
		newDemoCommand(),
		newTeamCommand(),
		newTokenCommand(),
		newPortalLinkCommand(),
		newDrainCommand(),
		newSetupCommand(),
		newPolicyCommand(),
		newEventsCommand(),
		newActivityCommand(),
		newVerifyCommand(),
		newSigningKeyCommand(),
		newMigrateCommand(),
		newMigrateStoreCommand(),
		newVersionCommand(),
	)
	root.Long = root.Short + `.

Flags that show a variable beside them can be set by it: those of serve, and
--url, --token, --team, --output and --postgres. A flag goes before its variable, and an
empty variable counts as none. Other variables that begin with AUDITDRAIN_ are
errors.`
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.SetFlagErrorFunc(flagError)
	// Now and not on execution, so that their flags get variables as well.
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		makeGroup(completion)
	}
	return root
}

// newGroup returns a command that only has others below it.
func newGroup(use, short string, commands ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{Use: use, Short: short}
	makeGroup(group)
	group.AddCommand(commands...)
	return group
}

// makeGroup makes an unknown command below cmd an error. Cobra on its own
// would answer it with the help text and success.
func makeGroup(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs // so that unknown commands reach us
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		if !cmd.HasParent() {
			return cmd.Help()
		}
		return usagef("%s needs a command: %s", cmd.CommandPath(), strings.Join(commandNames(cmd), ", "))
	}
}

func commandNames(group *cobra.Command) []string {
	var names []string
	for _, c := range group.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

func unknownCommand(group *cobra.Command, name string) error {
	names := commandNames(group)
	if near, ok := closest(name, names); ok {
		return usagef("%s has no command %q: did you mean %q?", group.CommandPath(), name, near)
	}
	return usagef("%s has no command %q: use one of %s", group.CommandPath(), name, strings.Join(names, ", "))
}

// usageError is an error that is the caller's, found before anything was done.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// watchStart reports, after execution, whether a command's own code was
// reached. Errors before that are cobra's, about arguments, and have no type.
func watchStart(root *cobra.Command) *bool {
	started := new(bool)
	for cmd := range allCommands(root) {
		if body := cmd.RunE; body != nil {
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				*started = true
				return body(cmd, args)
			}
		}
	}
	return started
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		Short:             "Print the version",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, ok := debug.ReadBuildInfo()
			if !ok {
				return errors.New("this binary was built without build information")
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), versionLine(info))
			return err
		},
	}
}

func versionLine(info *debug.BuildInfo) string {
	line := "auditdrain " + info.Main.Version
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if rev := settings["vcs.revision"]; rev != "" {
		line += " " + rev[:min(12, len(rev))]
		if settings["vcs.modified"] == "true" {
			line += " modified"
		}
	}
	return fmt.Sprintf("%s %s %s/%s", line, info.GoVersion, settings["GOOS"], settings["GOARCH"])
}

func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
